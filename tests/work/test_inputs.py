"""Whole runs over each kind of input: the same rows as from a tar, killed, continued, grown, and refined again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qrefine.api import nightly, refine
from qrefine.config import RefineConfig, load_config
from qrefine.corpus import units
from qrefine.doctor.storage import examine_input
from qrefine.errors import UserError
from qrefine.nightly.changes import Again
from qrefine.nightly.night import plan_nightly
from qrefine.plan.show import make_plan
from qrefine.report.gallery import Pick, look_up
from qrefine.report.scan import TableScan
from qrefine.storage.store import Store
from qrefine.table.table import Table
from tests.corpus.kinds import KINDS, as_folder, as_parquet, pictures
from tests.nightly.tables import rows_of
from tests.support import PLAIN, encoded, photo, write_tar
from tests.work.runs import HERE, STUB, die, finish

CONFIG = load_config(None, [*PLAIN, *HERE])
STUBBED = load_config(None, STUB)
WORK = ("status", "decision", "prompt", "source_sha256", "quality_before", "quality_after", "width")


def die_before_the_second_commit() -> None:
    commit = Table.commit
    commits = iter(range(10))

    def counted(self: Table, *arguments: Any, **options: Any) -> None:
        commit(self, *arguments, **options) if next(commits) < 1 else die()

    Table.commit = counted  # type: ignore[method-assign]


def work_of(table: Path) -> dict[str, tuple[Any, ...]]:
    rows = rows_of(table)
    found = {row["key"].rpartition("/")[2]: tuple(row[name] for name in WORK) for row in rows}
    assert len(found) == len(rows), "a sample has two rows"
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, ...]]:
    folder = tmp_path_factory.mktemp("tar")
    refine([str(KINDS["tar"](folder, 12))], str(folder / "table"), STUBBED)
    return work_of(folder / "table")


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_killed_and_continued_it_gives_the_rows_of_a_tar(
    tmp_path: Path, kind: str, expected: dict[str, tuple[Any, ...]]
) -> None:
    source, table = KINDS[kind](tmp_path, 12), tmp_path / "table"
    assert finish([str(source), str(table)], die_before_the_second_commit) == -9
    assert 0 < len(rows_of(table)) < 12
    summary = refine([str(source)], str(table), STUBBED)
    assert 0 < summary.samples < 12
    assert work_of(table) == expected
    assert refine([str(source)], str(table), STUBBED).samples == 0
    assert nightly([str(source)], str(table), STUBBED).committed is False


def test_a_night_does_a_parquet_file_again_that_changed(tmp_path: Path) -> None:
    source, table = as_parquet(tmp_path, 3), tmp_path / "table"
    refine([str(tmp_path)], str(table), STUBBED)
    as_parquet(tmp_path, 5)
    os.utime(source, (1, 1))
    summary = nightly([str(tmp_path)], str(table), STUBBED)
    assert (summary.plan.changed, summary.samples) == (1, 5)
    assert len(work_of(table)) == 5


def test_a_folder_that_grows_is_left_to_a_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More samples than a slice holds: it is cut, and the rows of its successors replace its own."""
    monkeypatch.setattr(units, "SLICE", 4)
    source, table = as_folder(tmp_path, 3), tmp_path / "table"
    refine([str(source)], str(table), STUBBED)
    as_folder(tmp_path, 6, first=3)
    summary = refine([str(source)], str(table), STUBBED)
    assert summary.samples == 0
    assert "shards changed since they were done" in summary.notes[0]
    plan = plan_nightly([str(source)], str(table), STUBBED, Again())
    assert plan.recut == 1
    assert plan.new > 1
    assert plan.vanished == ()
    assert nightly([str(source)], str(table), STUBBED).samples == 9
    assert work_of(table).keys() == {key for key, *_ in pictures(9)}
    (source / "deep" / "k00004.png").unlink()
    nightly([str(source)], str(table), STUBBED)
    assert len(work_of(table)) == 8
    for path in source.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="nothing matches"):
        nightly([str(source)], str(table), STUBBED)


def test_an_added_file_in_one_slice_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "SLICE", 4)
    source, table = as_folder(tmp_path, 10), tmp_path / "table"
    refine([str(source)], str(table), STUBBED)
    before = {row["shard"]: row["run"] for row in rows_of(table)}
    assert len(before) > 2
    (source / "deep" / "one-more.png").write_bytes(encoded(photo(size=64)))
    summary = nightly([str(source)], str(table), STUBBED)
    assert summary.samples <= 5
    assert len(work_of(table)) == 11
    untouched = {row["shard"] for row in rows_of(table) if row["run"] == before.get(row["shard"])}
    assert len(untouched) >= len(before) - 1


def test_a_table_of_ours_is_refined_again(tmp_path: Path) -> None:
    source, table, again = as_parquet(tmp_path, 5), tmp_path / "table", tmp_path / "again"
    first = load_config(None, [*STUB, "seed=1"])
    refine([str(source)], str(table), first)
    version = deltalake.DeltaTable(str(table)).version()
    rows = {row["key"]: row for row in rows_of(table)}
    refine([str(table)], str(again), CONFIG)
    for row in rows_of(again):
        assert (row["prompt"], row["metadata"]) == (rows[row["key"]]["prompt"], rows[row["key"]]["metadata"])
        assert row["shard"].startswith(f"{table}/#part-qrefine-")
        if row["status"] == "kept":
            assert row["image"]["bytes"] == rows[row["key"]]["image"]["bytes"]
    assert {row["key"] for row in rows_of(again)} == rows.keys()
    # the input's next version holds other parts: a run leaves them to a night, which replaces what is gone
    nightly([str(source)], str(table), load_config(None, [*STUB, "seed=2"]), Again(stale=True))
    assert deltalake.DeltaTable(str(table)).version() > version
    assert refine([f"{table}@{version}"], str(again), CONFIG).samples == 0
    assert refine([str(table)], str(again), CONFIG).samples == 0
    assert nightly([str(table)], str(again), CONFIG).samples == 5
    assert work_of(again).keys() == rows.keys()
    with pytest.raises(UserError, match="99"):
        refine([f"{table}@99"], str(again), CONFIG)


def test_failed_rows_of_a_table_are_failed_rows_again(tmp_path: Path) -> None:
    members = [("a.png", encoded(photo(size=32))), ("b.png", b"no image"), ("c.txt", b"only text")]
    refine([str(write_tar(tmp_path / "a.tar", members))], str(tmp_path / "table"), STUBBED)
    refine([str(tmp_path / "table")], str(tmp_path / "again"), STUBBED)
    first, again = ({row["key"]: row for row in rows_of(tmp_path / name)} for name in ("table", "again"))
    assert {key: row["status"] == "failed" for key, row in again.items()} == {"a": False, "b": True, "c": True}
    for key in "bc":
        assert again[key]["error"] == f"image is null: {first[key]['error']}"


def test_a_table_below_an_input_folder_is_no_part_of_it(tmp_path: Path) -> None:
    as_parquet(tmp_path, 2)
    for _ in range(2):
        summary = refine([str(tmp_path)], str(tmp_path / "deep" / "table"), STUBBED)
        assert summary.shards == 1


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_plan_doctor_and_report_know_it(tmp_path: Path, kind: str) -> None:
    source, table = KINDS[kind](tmp_path, 6), tmp_path / "table"
    plan = make_plan([str(source)], CONFIG, samples=6)
    assert plan.images.value == pytest.approx(6, rel=0.2)
    findings, size = examine_input([str(source)], CONFIG)
    assert [finding.state for finding in findings] == ["ok", "ok"]
    assert size > 0
    refine([str(source)], str(table), STUBBED)
    scan = TableScan(Store.at(str(table)))
    picks = [
        Pick(0.0, 0, row["shard"], row["index"], part.path, position)
        for part in scan.parts
        for position, row in enumerate(scan.rows(part.path, range(part.rows), ["shard", "index"]))
    ]
    shown = look_up(scan, picks, RefineConfig(), sources=True).values()
    refined = [one for one in shown if one.row["status"] == "refined"]
    assert refined
    assert all(one.source and not one.note for one in refined)


def test_damage_is_failed_rows_that_a_night_tries_again(tmp_path: Path) -> None:
    source, table = as_parquet(tmp_path, 6), tmp_path / "table"
    whole = source.read_bytes()
    start_of = pq.read_metadata(source).row_group(1).column(0).data_page_offset
    source.write_bytes(whole[:start_of] + b"\xff" * 16 + whole[start_of + 16 :])
    summary = refine([str(source)], str(table), STUBBED)
    assert (summary.samples, summary.failed) == (6, 1)
    stamp = source.stat().st_mtime_ns
    source.write_bytes(whole)
    os.utime(source, ns=(stamp, stamp))
    assert nightly([str(source)], str(table), STUBBED, Again(failed=True)).settled == {"replaced": 1}
    assert all(status != "failed" for status, *_ in work_of(table).values())


def test_an_unreadable_file_is_one_row_until_it_reads(tmp_path: Path) -> None:
    path, table = tmp_path / "a.parquet", tmp_path / "table"
    pq.write_table(pa.table({"caption": ["a"]}), path)
    summary = refine([str(path)], str(table), STUBBED)
    assert (summary.failed, summary.exit_code) == (1, 3)
    (row,) = rows_of(table)
    assert row["error"].endswith("name one in input.image_column; the columns are caption: string")
    as_parquet(tmp_path, 4)
    assert nightly([str(path)], str(table), STUBBED).plan.changed == 1
    assert len(work_of(table)) == 4
