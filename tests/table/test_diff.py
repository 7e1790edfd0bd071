"""Versions against each other, back to an old one, and when old parts are deleted."""

from __future__ import annotations

import os
from pathlib import Path

import deltalake
import pytest

from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.table.diff import Difference, diff
from qrefine.table.table import Table
from tests.table.parts import SCHEMA, part, rows


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Version 1: three shards. Version 2: of the first other rows, the second gone, the third as it was."""
    table = Table.open_or_create(Store.at(str(tmp_path)), SCHEMA)
    first = part(tmp_path, rows([(0, "kept"), (1, "refined"), (2, "failed"), (3, "kept")], "a.tar", 4, run="r1"))
    second = part(tmp_path, rows([(0, "kept"), (1, "kept")], "b.tar", 2, run="r1"))
    same = part(tmp_path, rows([(0, "kept")], "same.tar", 1, run="r1"))
    table.commit([first, second, same], run="r1")
    changed = [
        part(tmp_path, rows([(0, "refined"), (1, "kept"), (2, "kept")], "a.tar", run="r2")),
        part(tmp_path, rows([(3, "kept")], "a.tar", 4, run="r1")),  # carried over
        part(tmp_path, rows([(0, "kept"), (1, "failed")], "c.tar", 2, run="r2")),
    ]
    table.commit(changed, [first.path, second.path], run="r2")
    return table


def at(table: Table, version: int) -> Table:
    return Table.open(table.store, version)


def test_samples_are_counted_by_what_became_of_them(table: Table) -> None:
    assert diff(at(table, 1), at(table, 2)) == Difference(
        added=2, removed=2, replaced=3, new_source=0, improved=2, worse=1, same=0, unknown=0, gain=0.0
    )
    back = diff(at(table, 2), at(table, 1))
    assert (back.added, back.removed, back.improved, back.worse) == (2, 2, 1, 2)
    assert diff(at(table, 2), at(table, 2)) == Difference(0, 0, 0, 0, 0, 0, 0, 0, None)
    whole = diff(at(table, 0), at(table, 2))
    assert (whole.added, whole.removed, whole.replaced) == (7, 0, 0)


def test_compaction_is_no_difference(table: Table) -> None:
    table.delta.optimize.compact()
    assert diff(at(table, 2), at(table, 3)) == Difference(0, 0, 0, 0, 0, 0, 0, 0, None)


def test_a_new_source_is_neither_better_nor_worse(table: Table, tmp_path: Path) -> None:
    other = rows([(0, "kept")], "same.tar", 1, run="r3")
    other = other.set_column(other.schema.get_field_index("source_sha256"), "source_sha256", [["f" * 64]])
    old = next(piece.path for piece in table.pieces() if piece.shard == "same.tar")
    table.commit([part(tmp_path, other)], [old], run="r3")
    found = diff(at(table, 2), at(table, 3))
    assert (found.replaced, found.new_source, found.improved, found.worse, found.same) == (1, 1, 0, 0, 0)


def places(table: Table) -> list[tuple[str, int, str]]:
    found = table.delta.to_pyarrow_table(columns=["shard", "index", "run"]).to_pylist()
    return sorted((row["shard"], row["index"], row["run"]) for row in found)


def test_a_restored_table_is_the_old_one_by_a_new_version(table: Table) -> None:
    old = places(at(table, 1))
    assert table.restore(1, "r3") == 3
    assert places(table) == old
    assert places(at(table, 2)) != old
    assert diff(at(table, 1), table) == Difference(0, 0, 0, 0, 0, 0, 0, 0, None)
    assert table.ledger().complete("b.tar")
    assert deltalake.DeltaTable(table.root).history(1)[0]["qrefine"] == {"run": "r3", "restored": 1}


def test_a_version_that_is_not_there_or_not_whole_is_one_line(table: Table) -> None:
    with pytest.raises(UserError, match="versions 0 to 2, and no version 9"):
        table.restore(9, "r3")
    for path in {piece.path for piece in at(table, 1).pieces()} - {piece.path for piece in table.pieces()}:
        os.unlink(f"{table.root}/{path}")
    with pytest.raises(UserError, match="older than the retention of 7 days") as caught:
        table.restore(1, "r3")
    assert "\n" not in str(caught.value)
    assert len(places(table)) == 7


def test_parts_are_deleted_after_the_retention_and_not_before(table: Table) -> None:
    files = table.part_names()
    version = table.version
    assert table.vacuum() == 0
    assert table.part_names() == files
    table.delta.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 days"})
    table = Table.open(table.store)
    assert table.vacuum() == 2
    assert table.part_names() == {piece.path for piece in table.pieces()}
    assert table.vacuum() == 0
    assert table.version == version + 1  # the property's; deleting is no version
    assert len(places(table)) == 7


def test_what_came_back_by_a_restore_is_not_deleted(table: Table) -> None:
    table.restore(1, "r3")
    table.delta.alter.set_table_properties({"delta.deletedFileRetentionDuration": "interval 0 days"})
    table = Table.open(table.store)
    assert table.vacuum() == 3
    assert len(places(table)) == 7
