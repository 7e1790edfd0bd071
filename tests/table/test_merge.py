"""Merged rows are the rows themselves, in order, whatever parts they came in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrefine.storage.store import Store
from qrefine.table.ledger import Rows
from qrefine.table.merge import Source, in_order, merge_parts
from qrefine.table.parts import write_part
from tests.table.parts import part, rows


@st.composite
def spread(draw: st.DrawFn) -> tuple[list[list[int]], set[int]]:
    """Indexes dealt out over a few parts, and which of them are wanted."""
    indexes = sorted(draw(st.sets(st.integers(0, 30), min_size=1)))
    owners = draw(st.lists(st.integers(0, 3), min_size=len(indexes), max_size=len(indexes)))
    parts = [[i for i, owner in zip(indexes, owners, strict=True) if owner == k] for k in range(4)]
    return [p for p in parts if p], draw(st.sets(st.sampled_from(indexes)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dealt=spread(), group=st.integers(1, 7))
def test_rows_come_in_the_order_of_their_index_and_unchanged(
    tmp_path: Path, dealt: tuple[list[list[int]], set[int]], group: int
) -> None:
    parts, wanted = dealt
    tables = [rows([(i, ("kept", "refined", "failed")[i % 3]) for i in indexes]) for indexes in parts]
    sources = []
    for table in tables:
        groups = [table.slice(start, group) for start in range(0, table.num_rows, group)]
        record = write_part(Store.at(str(tmp_path)), groups, "r")
        sources.append(Source.of(record.path, "a.tar", Rows(table["index"].to_pylist()) & Rows(wanted)))
    runs = list(in_order(Store.at(str(tmp_path)), sources))
    found = [row for run in runs for row in run.to_pylist()]
    expected = pa.concat_tables(tables).sort_by("index").to_pylist()
    assert found == [row for row in expected if row["index"] in wanted]
    assert all(run.schema.equals(tables[0].schema) for run in runs)


def test_parts_are_opened_only_when_the_merge_reaches_them(tmp_path: Path) -> None:
    records = [part(tmp_path, rows([(start + i, "kept") for i in range(3)])) for start in (6, 0, 3)]
    opened: list[str] = []

    class Told(Store):
        def open(self, name: str = "", mode: str = "rb") -> Any:
            opened.append(name)
            return super().open(name, mode)

    sources = [Source.of(r.path, "a.tar", Rows.from_ranges(r.rows)) for r in records]
    runs = in_order(Told.at(str(tmp_path)), sources)
    assert next(runs)["index"].to_pylist() == [0, 1, 2]
    assert opened == [records[1].path]
    assert [run["index"].to_pylist() for run in runs] == [[3, 4, 5], [6, 7, 8]]


def test_a_merge_writes_parts_of_a_size(tmp_path: Path) -> None:
    table = rows([(i, "kept") for i in range(12)], total=12)
    groups = [table.slice(start, 2) for start in range(0, 12, 2)]
    record = write_part(Store.at(str(tmp_path)), groups, "r")
    one = merge_parts(Store.at(str(tmp_path)), [Source.of(record.path, "a.tar", Rows(range(12)))], "r2", 1 << 30)
    assert [(r.shard, r.rows, r.shard_rows, r.version) for r in one] == [("a.tar", ((0, 12),), 12, "9-v")]
    assert pq.read_table(tmp_path / one[0].path).to_pylist() == table.to_pylist()
    assert one[0].statuses == record.statuses
    assert merge_parts(Store.at(str(tmp_path)), [], "r3", 1) == []
