from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qrefine.config import Bounds, RefineConfig
from qrefine.report import scan as scan_module
from qrefine.report.gallery import Pick, Section, look_up, sections
from qrefine.report.rows import ChunkRows
from qrefine.report.scan import TableScan
from qrefine.report.statistics import COLUMNS, LOWER_IS_BETTER, Statistics
from qrefine.storage.store import Store
from qrefine.table.table import open_table
from tests.report.tables import synthetic_table


def choose(table: Path, count: int = 5) -> dict[str, list[Pick]]:
    scan = TableScan(Store.at(str(table)))
    views: list[Section] = sections(count, Statistics(Bounds(), scan.judges, LOWER_IS_BETTER).judges)
    judges = [f"{judge}_{when}" for judge in scan.judges for when in ("before", "after")]
    for chunk in scan.chunks([*COLUMNS, *judges]):
        rows = ChunkRows(chunk.rows, chunk.part, chunk.first)
        for view in views:
            view.top.offer(*view.rank(rows), rows)
    return {view.name: view.top.picks() for view in views}


def places(picks: list[Pick]) -> list[tuple[str, int]]:
    return [(pick.shard, pick.index) for pick in picks]


def test_each_view_holds_what_it_says(synthetic: Path) -> None:
    frame = open_table(str(synthetic)).to_pyarrow_table().to_pandas().set_index(["shard", "index"])
    frame["gain"] = frame["quality_after"].astype("float64") - frame["quality_before"]
    refined = frame[frame["status"] == "refined"]
    chosen = choose(synthetic)
    assert set(places(chosen["best"])) == set(refined["gain"].nlargest(5).index)
    assert set(places(chosen["worst"])) == set(refined["gain"].nsmallest(5).index)
    assert set(places(chosen["poor"])) == set(frame["quality_after"].nsmallest(5).index)
    assert all(frame.loc[place]["piqe_after"] > 40 for place in places(chosen["uncertain"]))
    assert all(frame.loc[place]["status"] != "failed" for place in places(chosen["random"]))
    assert all(len(picks) == 5 for picks in chosen.values())


def test_a_choice_does_not_depend_on_the_parts(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = synthetic_table(tmp_path / "table", shards=3, rows=200, part_rows=7)
    expected = {name: places(picks) for name, picks in choose(synthetic).items()}
    assert {name: places(picks) for name, picks in choose(other).items()} == expected
    monkeypatch.setattr(scan_module, "STREAMED_ROWS", 10)
    monkeypatch.setattr(scan_module, "BATCH_ROWS", 13)
    assert {name: places(picks) for name, picks in choose(synthetic).items()} == expected


def test_parts_come_in_their_order_whether_they_are_streamed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "STREAMED_ROWS", 20)
    monkeypatch.setattr(scan_module, "BATCH_ROWS", 13)
    scan = TableScan(Store.at(str(synthetic_table(tmp_path / "table", shards=3, rows=70, part_rows=30))))
    assert {part.rows for part in scan.parts} == {30, 10}
    rows = [(chunk.part, chunk.first + i) for chunk in scan.chunks(["index"]) for i in range(chunk.rows.num_rows)]
    assert rows == [(part.path, i) for part in scan.parts for i in range(part.rows)]


def test_the_random_view_is_uniform(tmp_path: Path) -> None:
    table = synthetic_table(tmp_path / "table", shards=1, rows=400, part_rows=400)
    indexes = [index for _, index in places(choose(table, count=100)["random"])]
    assert 150 < np.mean(indexes) < 250  # 199.5 +- 11 expected
    assert len(set(indexes)) == 100


def test_rows_are_found_wherever_they_lie(synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "FETCH_ROWS", 3)
    scan = TableScan(Store.at(str(synthetic)))
    part = scan.parts[0]
    rows = scan.rows(part.path, [49, 0, 17], ["index"])
    every = scan.rows(part.path, range(part.rows), ["index"])
    assert rows == [every[49], every[0], every[17]]


def test_sources_come_from_their_shards_or_a_note_says_why_not(real: Path, synthetic: Path) -> None:
    def shown(table: Path, **options: bool) -> list[tuple[str, bool, str]]:
        picks = [pick for some in choose(table, 30).values() for pick in some]  # a row may be in several views
        found = look_up(
            TableScan(Store.at(str(table))),
            picks,
            RefineConfig(),
            **{"sources": True, **options},
        )
        assert set(found) == {pick.place for pick in picks}
        rows = [found[pick.place] for pick in picks]
        return [(one.row["status"], one.source is not None, one.note) for one in rows]

    assert shown(real)
    assert set(shown(real)) == {("refined", True, ""), ("kept", False, "")}
    gone = "source shard cannot be read from here"
    assert set(shown(synthetic)) == {("refined", False, gone), ("kept", False, "")}
    unread = "sources were not read (--no-sources)"
    assert set(shown(real, sources=False)) == {("refined", False, unread), ("kept", False, "")}


def test_a_shard_that_changed_is_not_shown_as_the_source(real: Path) -> None:
    scan = TableScan(Store.at(str(real)))
    picks = choose(real)["best"]
    shard = Path(picks[0].shard)
    other = next(path for path in sorted(shard.parent.glob("*.tar")) if path != shard)
    before = shard.read_bytes()
    shard.write_bytes(other.read_bytes())
    try:
        shown = look_up(scan, picks, RefineConfig(), sources=True)
    finally:
        shard.write_bytes(before)
    # the clean photographs are the same in both shards
    notes = {shown[pick.place].note for pick in picks if pick.shard == str(shard) and pick.index % 3}
    assert notes == {"source shard has changed since this row was written"}
