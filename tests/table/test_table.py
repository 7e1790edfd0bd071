"""The table: rows exist by commit alone, a resume knows them, nothing that the log names is ever deleted."""

from __future__ import annotations

import json
from pathlib import Path

import deltalake
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrefine.errors import TableBusyError, UserError
from qrefine.storage.store import Store
from qrefine.table.schema import table_schema
from qrefine.table.table import Table, open_table
from tests.table.parts import SCHEMA, delta_rows, part, rows

Specs = list[tuple[int, str]]


def make(root: Path) -> Table:
    return Table.open_or_create(Store.at(str(root)), SCHEMA)


def add(table: Table, specs: Specs, shard: str = "a.tar", total: int | None = None, run: str = "r1") -> str:
    """Write and commit one part."""
    record = part(table.root, rows(specs, shard, total), run)
    table.commit([record], run=run, config="digest")
    return record.path


def held(root: Path) -> list[tuple[str, int, str]]:
    found = delta_rows(root).sort_by([("shard", "ascending"), ("index", "ascending")])
    return [(r["shard"], r["index"], r["status"]) for r in found.to_pylist()]


def test_a_part_is_invisible_until_it_is_committed(tmp_path: Path) -> None:
    table = make(tmp_path)
    record = part(table.root, rows([(0, "kept")]), "r1")
    assert held(tmp_path) == []
    table.commit([record], run="r1")
    assert held(tmp_path) == [("a.tar", 0, "kept")]


def test_a_table_is_made_once_and_then_opened(tmp_path: Path) -> None:
    add(make(tmp_path), [(0, "kept")])
    assert make(tmp_path).version == 1
    assert Table.open(Store.at(str(tmp_path))).ledger().row_count == 1
    assert make(tmp_path / "empty").ledger().row_count == 0


def test_a_table_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no table at"):
        open_table(str(tmp_path / "none"))


def test_an_output_that_is_a_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError) as caught:
        make(tmp_path / "file")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (pa.schema([("a", pa.int64())]), "missing: key, shard"),
        (table_schema(("piqe", "other")), "unknown: other_before, other_after"),
        (table_schema(()), "missing: piqe_before, piqe_after"),
        (SCHEMA.set(2, pa.field("index", pa.string())), "index is string, not int32"),
        (SCHEMA.set(0, pa.field("key", pa.list_(pa.string()))), "key is list"),
    ],
)
def test_a_table_of_other_columns_is_refused(tmp_path: Path, schema: pa.Schema, reason: str) -> None:
    deltalake.DeltaTable.create(str(tmp_path), schema)
    with pytest.raises(UserError, match=reason):
        make(tmp_path)


def test_the_ledger_is_what_was_committed(tmp_path: Path) -> None:
    table = make(tmp_path)
    add(table, [(0, "kept"), (1, "refined")])
    add(table, [(2, "kept"), (3, "failed")], total=4)
    add(table, [(0, "kept"), (2, "kept"), (7, "kept")], shard="gaps.tar")
    add(table, [(1, "kept")], shard="gaps.tar")
    add(table, [(0, "failed")], shard="empty.tar", total=1)
    ledger = make(tmp_path).ledger()
    assert ledger.state("a.tar").rows.ranges == ((0, 4),)
    assert ledger.state("gaps.tar").rows.ranges == ((0, 3), (7, 8))
    assert [s for s in ("a.tar", "gaps.tar", "empty.tar") if ledger.complete(s)] == ["a.tar", "empty.tar"]
    assert ledger.row_count == 9


def test_a_complete_shard_of_parts_with_gaps_is_known_without_opening_one(tmp_path: Path) -> None:
    table = make(tmp_path)
    paths = [add(table, [(0, "kept"), (2, "kept")], total=None), add(table, [(1, "kept"), (3, "kept")], total=4)]
    for path in paths:
        (tmp_path / path).unlink()
    ledger = make(tmp_path).ledger()
    assert ledger.complete("a.tar")
    assert ledger.state("a.tar").rows.ranges == ((0, 4),)


def test_the_ledger_survives_another_engines_compaction(tmp_path: Path) -> None:
    table = make(tmp_path)
    add(table, [(0, "kept"), (1, "failed")], total=2)
    add(table, [(0, "kept"), (2, "kept")], shard="b.tar")
    deltalake.DeltaTable(str(tmp_path)).optimize.compact()
    table = make(tmp_path)
    ledger = table.ledger()
    assert ledger.complete("a.tar")
    assert ledger.state("b.tar").rows.ranges == ((0, 1), (2, 3))
    assert not ledger.complete("b.tar")


def test_a_replacement_is_one_commit(tmp_path: Path) -> None:
    table = make(tmp_path)
    old = add(table, [(0, "failed")], total=1)
    record = part(table.root, rows([(0, "kept")], total=1), "r2")
    table.commit([record], [old], run="r2")
    assert held(tmp_path) == [("a.tar", 0, "kept")]
    before = deltalake.DeltaTable(str(tmp_path), version=1)
    assert before.to_pyarrow_table()["status"].to_pylist() == ["failed"]


def test_of_two_writers_the_one_that_did_not_see_the_others_commit_is_refused(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path)
    add(first, [(0, "kept")])
    with pytest.raises(TableBusyError, match="another commit came between"):
        add(second, [(0, "kept")])  # it planned this row when nothing was there
    assert held(tmp_path) == [("a.tar", 0, "kept")]
    add(first, [(1, "kept")])
    add(make(tmp_path), [(2, "kept")])
    assert [index for _, index, _ in held(tmp_path)] == [0, 1, 2]


def test_a_restore_is_refused_beside_another_commit_and_refuses_one(tmp_path: Path) -> None:
    first = make(tmp_path)
    add(first, [(0, "kept")])
    second = make(tmp_path)
    add(first, [(1, "kept")])
    with pytest.raises(TableBusyError, match="another commit came between"):
        second.restore(0, "r9")
    assert len(held(tmp_path)) == 2
    late = make(tmp_path)
    assert make(tmp_path).restore(1, "r9") == 3
    log = (tmp_path / "_delta_log" / f"{3:020d}.json").read_text().splitlines()
    transactions = [action["txn"] for action in map(json.loads, log) if "txn" in action]
    assert [(txn["appId"], txn["version"]) for txn in transactions] == [("qrefine", 3)]
    with pytest.raises(TableBusyError, match="another commit came between"):
        add(late, [(2, "kept")])
    assert held(tmp_path) == [("a.tar", 0, "kept")]


def test_another_engines_commit_stops_no_run(tmp_path: Path) -> None:
    table = make(tmp_path)
    add(table, [(0, "kept")])
    add(table, [(1, "kept")])
    deltalake.DeltaTable(str(tmp_path)).optimize.compact()
    add(table, [(2, "kept")])
    assert [index for _, index, _ in held(tmp_path)] == [0, 1, 2]


def test_a_commit_whose_answer_was_lost_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make(tmp_path)
    old = add(table, [(0, "failed")], total=1)
    create = Store.create

    def twice(self: Store, name: str, data: bytes) -> None:  # the store took the first; the client saw no answer
        create(self, name, data)
        create(self, name, data)

    monkeypatch.setattr(Store, "create", twice)
    table.commit([part(table.root, rows([(0, "kept")], total=1), "r2")], [old], run="r2")
    assert held(tmp_path) == [("a.tar", 0, "kept")]
    assert table.version == make(tmp_path).version == 2


def test_leftovers_are_removed_and_nothing_that_any_version_names(tmp_path: Path) -> None:
    table = make(tmp_path)
    old = add(table, [(0, "failed"), (1, "kept")], total=2)
    record = part(table.root, rows([(1, "kept")], total=2), "r2")
    table.commit([record], [old], run="r2")  # the old part is in an older version only
    dead = part(table.root, rows([(5, "kept")]), "dead")
    mine = part(table.root, rows([(6, "kept")]), "r3")
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "part-00000-0123.parquet").write_bytes(b"of a compaction that is under way")
    assert make(tmp_path).remove_leftovers("r3") == 1
    names = {path.name for path in tmp_path.iterdir()}
    assert dead.path not in names
    assert {old, mine.path, "notes.txt", "part-00000-0123.parquet"} <= names
    assert held(tmp_path) == [("a.tar", 1, "kept")]
    for version in range(table.version + 1):
        deltalake.DeltaTable(str(tmp_path), version=version).to_pyarrow_table()


def test_what_another_run_committed_since_the_table_was_opened_is_no_leftover(tmp_path: Path) -> None:
    table, other = make(tmp_path), make(tmp_path)
    path = add(other, [(0, "kept")], run="r2")
    assert table.remove_leftovers("r3") == 0
    assert (tmp_path / path).exists()


def test_the_last_configuration_is_that_of_the_last_commit_that_had_one(tmp_path: Path) -> None:
    table = make(tmp_path)
    assert table.last_config() is None
    old = add(table, [(0, "failed")])
    table.commit([], [old], run="r2")  # a commit that names no configuration
    assert make(tmp_path).last_config() == "digest"


def test_the_table_opens_in_pyarrow_polars_and_pandas(tmp_path: Path) -> None:
    table = make(tmp_path)
    specs: Specs = [(0, "refined"), (1, "kept"), (2, "failed")]
    add(table, specs, total=3)
    expected = rows(specs, total=3).sort_by("index").to_pylist()
    assert open_table(str(tmp_path)).to_pyarrow_table().sort_by("index").to_pylist() == expected
    polars = pl.read_delta(str(tmp_path)).sort("index")
    assert polars["status"].to_list() == ["refined", "kept", "failed"]
    assert polars["image"].struct.field("bytes").to_list()[1] == expected[1]["image"]["bytes"]
    assert polars["quality_map_before"].to_list() == [row["quality_map_before"] for row in expected]
    frame = deltalake.DeltaTable(str(tmp_path)).to_pandas().sort_values("index")
    assert isinstance(frame, pd.DataFrame)
    assert frame["image"].iloc[1]["bytes"] == expected[1]["image"]["bytes"]
    files = open_table(str(tmp_path)).file_uris()
    assert pq.read_table(files).num_rows == 3
