"""Tables that are older than some columns: read as they are, and brought up by a run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from qrefine.storage.store import Store
from qrefine.table.ledger import Rows
from qrefine.table.merge import Source, merge_parts
from qrefine.table.schema import ADDED, with_added
from qrefine.table.table import Table
from tests.table.parts import SCHEMA, delta_rows, part, rows


def old_table(root: Path) -> Table:
    """A table whose schema and one part know nothing of the columns that were added."""
    schema = SCHEMA
    for name in ADDED:
        schema = schema.remove(schema.get_field_index(name))
    table = Table.open_or_create(Store.at(str(root)), schema)
    record = part(table.root, rows([(0, "kept"), (2, "refined")]).drop_columns(list(ADDED)), "r0")
    table.commit([record], run="r0", config="c")
    return table


def test_an_old_table_opens_and_gets_its_columns_by_a_commit_that_touches_no_part(tmp_path: Path) -> None:
    old_table(tmp_path)
    table = Table.open_or_create(Store.at(str(tmp_path)), SCHEMA)
    before = table.part_names()
    assert table.add_columns() == list(ADDED)
    assert table.add_columns() == []
    assert table.part_names() == before
    new = part(table.root, rows([(1, "kept")]), "r1")
    table.commit([new], run="r1", config="c")
    found = delta_rows(tmp_path).sort_by("index")
    assert found["decision"].to_pylist() == [None, "nothing_to_do", None]
    assert Table.open(Store.at(str(tmp_path))).ledger().row_count == 3


def test_parts_of_both_kinds_are_merged(tmp_path: Path) -> None:
    table = old_table(tmp_path)
    (old,) = table.part_names()
    new = part(table.root, rows([(1, "kept")]), "r1")
    sources = [Source.of(old, "a.tar", Rows([0, 2])), Source.of(new.path, "a.tar", Rows([1]))]
    (merged,) = merge_parts(table.store, sources, "r2", 1 << 20)
    found = pq.read_table(tmp_path / merged.path)
    assert found["index"].to_pylist() == [0, 1, 2]
    assert found["decision"].to_pylist() == [None, "nothing_to_do", None]
    assert found.column_names == with_added(found).column_names
