"""Nights in this process: what is decided, staged, committed, and continued after a kill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import deltalake
import pytest

from qrefine.api import nightly, refine
from qrefine.config import load_config
from qrefine.nightly.changes import Again
from tests.nightly.tables import by_shard, grey, rows_of, version_of
from tests.stream.backends import THROWER
from tests.support import PLAIN, encoded, photo, write_shards, write_tar
from tests.work.runs import HERE

CONFIG = load_config(None, [*PLAIN, *HERE])
DANGEROUS = load_config(
    None, [*PLAIN, *HERE, "mapper.name=tests.stream.backends:DangerousMapper", "stream.retries=0"]
)


def test_poor_rows_get_another_seed_and_keep_the_better_result(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=2, samples=6)
    table = tmp_path / "table"
    config = load_config(None, [*PLAIN, *HERE, "inpaint.name=tests.stream.backends:DiceRestorer"])
    refine([str(tmp_path)], str(table), config)
    before = rows_of(table)
    bound = sorted(row["quality_after"] for row in before)[4] + 1e-6
    poor = {(row["shard"], row["index"]) for row in before if row["quality_after"] < bound}
    assert len(before) > len(poor) >= 3

    for night in range(2):
        summary = nightly([str(tmp_path)], str(table), config, Again(below=bound))
        after = rows_of(table)
        assert summary.samples == summary.plan.below == len(poor)
        assert sum(summary.settled.values()) == len(poor)
        replaced = 0
        for row, old in zip(after, before, strict=True):
            if row != old:
                assert (row["shard"], row["index"]) in poor
                assert row["quality_after"] > old["quality_after"]
                assert row["seed"] != old["seed"]
                replaced += 1
        assert replaced == summary.settled["replaced"]
        before = after
        poor = {(row["shard"], row["index"]) for row in before if row["quality_after"] < bound}
        assert poor or night
        if not poor:
            break


def test_stale_rows_are_those_of_another_configuration(tmp_path: Path) -> None:
    write_shards(tmp_path, shards=2, samples=3)
    table = tmp_path / "table"
    refine([str(tmp_path / "000000.tar")], str(table), CONFIG)
    other = load_config(None, [*PLAIN, *HERE, "inpaint.strength=0.5"])
    refine([str(tmp_path)], str(table), other)
    fresh = by_shard(table)["000001.tar"]
    summary = nightly([str(tmp_path)], str(table), other, Again(stale=True))
    assert (summary.plan.stale, summary.samples, summary.settled) == (3, 3, {"replaced": 3})
    assert {row["config"] for row in rows_of(table)} == {other.digest}
    assert by_shard(table)["000001.tar"] == fresh
    refine([str(tmp_path)], str(tmp_path / "whole"), other)
    for row, expected in zip(rows_of(table), rows_of(tmp_path / "whole"), strict=True):
        assert {**row, "run": None} == {**expected, "run": None}


def test_a_row_that_fails_when_it_is_done_again_stays_as_it_was(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [(f"{i:03d}.png", grey(THROWER if i == 1 else i)) for i in range(3)])
    table = tmp_path / "table"
    refine([str(tmp_path)], str(table), CONFIG)
    before = rows_of(table)
    summary = nightly([str(tmp_path)], str(table), DANGEROUS, Again(stale=True))
    assert summary.settled == {"replaced": 2, "failed": 1}
    after = rows_of(table)
    assert after[1] == before[1]
    assert after[1]["status"] != "failed"
    assert after[0]["config"] == after[2]["config"] == DANGEROUS.digest


class Killed(BaseException):
    """A night that ends here ends as by SIGKILL: nothing below handles it."""


@pytest.mark.parametrize("point", ["merge", "commit"])
def test_a_killed_night_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    from qrefine.nightly.run import AtomicRun
    from qrefine.table.table import Table

    folder, table = tmp_path / "in", tmp_path / "table"
    folder.mkdir()
    write_tar(folder / "a.tar", [(f"{i:03d}.png", grey(THROWER if i == 1 else i)) for i in range(4)])
    refine([str(folder)], str(table), DANGEROUS)
    version, before = version_of(table), rows_of(table)
    write_tar(folder / "b.tar", [(f"{i:03d}.png", grey(i)) for i in range(4)])

    def killed(*arguments: Any, **more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if point == "merge":
            patch.setattr(AtomicRun, "_merge", killed)
        else:
            patch.setattr(Table, "commit", killed)
        with pytest.raises(Killed):
            nightly([str(folder)], str(table), CONFIG, Again(failed=True))
    assert version_of(table) == version
    assert rows_of(table) == before
    # a run of another kind in between finds nothing to do, and leaves what is staged
    assert refine([str(folder / "a.tar")], str(table), CONFIG).samples == 0

    write_tar(folder / "c.tar", [("z.png", grey(9))])  # arrived meanwhile
    summary = nightly([str(folder)], str(table), CONFIG, Again(failed=True))
    assert (summary.continued, summary.samples) == (5, 6)
    assert version_of(table) == version + 1
    assert [len(rows) for rows in by_shard(table).values()] == [4, 4, 1]
    assert not any(row["status"] == "failed" for row in rows_of(table))
    assert not [name for name in os.listdir(table / "_qrefine") if name.startswith("staged-")]
    assert not nightly([str(folder)], str(table), CONFIG).committed
    names = {name for name in os.listdir(table) if name.endswith(".parquet")}
    history = [deltalake.DeltaTable(str(table), version=v) for v in range(version + 2)]
    assert names == {Path(uri).name for old in history for uri in old.file_uris()}


def test_a_staged_night_is_stale_once_another_run_has_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qrefine.table.table import Table

    folder, table = tmp_path / "in", tmp_path / "table"
    folder.mkdir()
    write_shards(folder, shards=2, samples=3)

    def killed(*arguments: Any, **more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Table, "commit", killed)
        with pytest.raises(Killed):
            nightly([str(folder)], str(table), CONFIG)
    assert refine([str(folder)], str(table), CONFIG).samples == 6
    summary = nightly([str(folder)], str(table), CONFIG)
    assert (summary.committed, summary.leftovers_removed > 0) == (False, True)
    assert len(rows_of(table)) == 6


def test_parts_of_another_engine_are_taken_apart_where_one_of_their_shards_changes(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, shards=3, samples=3)
    table = tmp_path / "table"
    refine([str(tmp_path)], str(table), CONFIG)
    deltalake.DeltaTable(str(table)).optimize.compact()
    assert len(deltalake.DeltaTable(str(table)).file_uris()) == 1
    before = by_shard(table)
    write_tar(paths[1], [("a.png", encoded(photo(size=64)))])
    summary = nightly([str(tmp_path)], str(table), CONFIG)
    assert (summary.plan.changed, summary.samples) == (1, 1)
    after = by_shard(table)
    assert (after["000000.tar"], after["000002.tar"]) == (before["000000.tar"], before["000002.tar"])
    assert [row["key"] for row in after["000001.tar"]] == ["a"]
    assert not nightly([str(tmp_path)], str(table), CONFIG).committed


def test_refine_retries_failed_rows_and_each_stands_until_its_successor_does(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [(f"{i:03d}.png", grey(THROWER if i in (1, 3) else i)) for i in range(5)])
    write_tar(tmp_path / "b.tar", [("b.png", b"garbage")])  # fails whatever is done
    table = tmp_path / "table"
    refine([str(tmp_path)], str(table), DANGEROUS)
    first, before = version_of(table), rows_of(table)
    write_tar(tmp_path / "c.tar", [("c.png", grey(7))])  # and something new

    summary = refine([str(tmp_path)], str(table), CONFIG, retry_failed=True)
    assert (summary.samples, summary.failed) == (4, 1)
    assert any("3 failed rows were tried again" in note for note in summary.notes)
    for version in range(first, version_of(table) + 1):  # no version lacks a row that was there
        found = {(row["shard"], row["index"]) for row in rows_of(table, version)}
        assert found >= {(row["shard"], row["index"]) for row in before}
    after = rows_of(table)
    assert [row["key"] for row in after if row["status"] == "failed"] == ["b"]
    assert [row["key"] for row in after] == ["000", "001", "002", "003", "004", "b", "c"]
    good = [row for row in before if row["status"] != "failed"]
    assert [row for row in after if row["run"] != summary.run][: len(good)] == good


def test_a_killed_retry_of_failed_rows_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qrefine.table.table import Table

    write_tar(tmp_path / "a.tar", [(f"{i:03d}.png", grey(THROWER if i in (1, 3) else i)) for i in range(5)])
    table = tmp_path / "table"
    refine([str(tmp_path)], str(table), DANGEROUS)
    version, before = version_of(table), rows_of(table)

    def killed(*arguments: Any, **more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Table, "commit", killed)
        with pytest.raises(Killed):
            refine([str(tmp_path)], str(table), CONFIG, retry_failed=True)
    assert (version_of(table), rows_of(table)) == (version, before)
    summary = refine([str(tmp_path)], str(table), CONFIG, retry_failed=True)
    assert summary.samples == 0  # they lay ready
    assert version_of(table) == version + 1
    assert not any(row["status"] == "failed" for row in rows_of(table))
