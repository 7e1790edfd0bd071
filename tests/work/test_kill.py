"""Kill anything at any time: no sample is lost, none appears twice.

The first tests are the rows of ARCHITECTURE.md's table "killed here, this happens", one for each.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import duckdb
import polars
import pytest
from deltalake import DeltaTable
from fsspec.implementations.local import LocalFileSystem

from qrefine.storage.store import Store
from qrefine.table import table
from qrefine.table.parts import PREFIX
from qrefine.table.schema import table_schema
from qrefine.table.table import Table, open_table
from qrefine.work import refine, write
from tests.work import repeated, runs
from tests.work.kill_points import (
    SAMPLES,
    SHARDS,
    Count,
    Found,
    kill_points,
    read,
    unnamed,
    write_corpus,
)

CHECKPOINT_EVERY = 3
KILL_SHARDS, KILL_SAMPLES = 6, 8
# One test for each row of the table


def die_before_the_first_part() -> None:
    write.Part = lambda *_: runs.die()  # type: ignore[assignment, misc]


def die_while_a_part_is_written() -> None:
    def half(self: Store, name: str, file: IO[bytes]) -> None:
        data = (file.seek(0), file.read())[1]
        with self.open(name, "wb") as target:
            target.write(data[: len(data) // 2])
            target.flush()
            runs.die()

    Store.upload = half  # type: ignore[method-assign]


def die_before_the_second_commit() -> None:
    commit = Table.commit
    commits = iter(range(10))

    def second(self: Table, *arguments: Any, **options: Any) -> None:
        commit(self, *arguments, **options) if next(commits) == 0 else runs.die()

    Table.commit = second  # type: ignore[method-assign]


def die_between_commit_and_checkpoint() -> None:
    table.write_checkpoint = lambda log: runs.die()


def die_after_the_last_commit() -> None:
    refine._summary = lambda *_: runs.die()  # type: ignore[assignment]


def die_during_cleanup() -> None:
    removed = iter(range(10))
    remove = LocalFileSystem.rm_file

    def second(self: LocalFileSystem, path: str) -> None:
        remove(self, path) if PREFIX not in path or next(removed) == 0 else runs.die()

    LocalFileSystem.rm_file = second


def die_before_the_replacement() -> None:
    Table.commit = lambda self, records, removed=(), **_: runs.die()  # type: ignore[method-assign]


def die_after_the_replacement() -> None:
    commit = Table.commit

    def last(self: Table, *arguments: Any, **options: Any) -> None:
        commit(self, *arguments, **options)
        runs.die()

    Table.commit = last  # type: ignore[method-assign]


KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "corpus"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def expected(corpus: Path) -> Found:
    assert runs.finish([str(corpus), str(corpus.parent / "reference")]) == 0
    return read(corpus.parent / "reference")[0]


def all_readers_agree(table: Path) -> int:
    """How many rows Polars, pyarrow, pandas and DuckDB find; they must find the same."""
    parts = open_table(str(table)).file_uris()
    counts = {
        "polars": polars.read_delta(str(table)).height,
        "pyarrow": open_table(str(table)).to_pyarrow_table().num_rows,
        "pandas": len(DeltaTable(str(table)).to_pandas(columns=["shard", "index"])),
        "duckdb": 0,
    }
    if parts:
        rows = duckdb.sql(
            "select count(*), count(distinct (shard, index)) from read_parquet($parts)", params={"parts": parts}
        )
        counts["duckdb"], places = rows.fetchall()[0]
        assert places == counts["duckdb"], "a sample is there twice"
    assert len(set(counts.values())) == 1, counts
    return counts["polars"]


def resumes(corpus: Path, table: Path, expected: Found, *flags: str) -> None:
    """The same command ends well, and every sample is there once, as an undisturbed run leaves it."""
    assert runs.finish([str(corpus), str(table), *flags]) == 0
    assert read(table) == (expected, 0)
    assert unnamed(table) == 0
    assert all_readers_agree(table) == SHARDS * SAMPLES


@pytest.mark.parametrize(
    ("death", "committed", "left"),
    [
        (die_before_the_first_part, {0}, {0}),
        (die_while_a_part_is_written, {0}, {1}),
        (die_before_the_second_commit, set(range(1, SHARDS * SAMPLES)), set(range(1, 20))),
        (die_after_the_last_commit, {SHARDS * SAMPLES}, {0}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_killed_run_leaves_a_table_that_opens_and_the_next_run_ends_it(
    corpus: Path, expected: Found, tmp_path: Path, death: Callable[[], None], committed: set[int], left: set[int]
) -> None:
    table = tmp_path / "table"
    assert runs.finish([str(corpus), str(table)], death) == KILLED
    assert all_readers_agree(table) in committed
    assert unnamed(table) in left
    resumes(corpus, table, expected)


def test_a_checkpoint_that_was_not_written_is_made_up_for(corpus: Path, expected: Found, tmp_path: Path) -> None:
    table = tmp_path / "table"
    often = {"delta.checkpointInterval": str(CHECKPOINT_EVERY)}
    DeltaTable.create(str(table), table_schema(()), configuration=often)
    assert runs.finish([str(corpus), str(table)], die_between_commit_and_checkpoint) == KILLED
    assert open_table(str(table)).version() == CHECKPOINT_EVERY - 1
    assert not list(table.glob("_delta_log/*checkpoint*"))
    assert 0 < all_readers_agree(table) < SHARDS * SAMPLES
    resumes(corpus, table, expected)
    assert list(table.glob("_delta_log/*.checkpoint.*parquet"))


def test_a_run_that_dies_while_it_cleans_up_leaves_the_rest_to_the_next(
    corpus: Path, expected: Found, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    assert runs.finish([str(corpus), str(table)]) == 0
    dead = [table / f"{PREFIX}dead-{i}.parquet" for i in range(3)]
    for path in dead:
        path.write_bytes(b"half a part")
    assert runs.finish([str(corpus), str(table)], die_during_cleanup) == KILLED
    assert len([path for path in dead if path.exists()]) == 2
    assert all_readers_agree(table) == SHARDS * SAMPLES
    resumes(corpus, table, expected)


@pytest.mark.parametrize(
    ("death", "flags"), [(die_before_the_replacement, ["--retry-failed"]), (die_after_the_replacement, [])]
)
def test_a_replacement_is_made_or_it_is_not(
    corpus: Path, expected: Found, tmp_path: Path, death: Callable[[], None], flags: list[str]
) -> None:
    table = tmp_path / "table"
    assert runs.finish([str(corpus), str(table)]) == 0
    version = open_table(str(table)).version()
    assert runs.finish([str(corpus), str(table), "--retry-failed"], death) == KILLED
    made = open_table(str(table)).version() - version
    assert made == (death is die_after_the_replacement)
    assert all_readers_agree(table) == SHARDS * SAMPLES  # the failed row stands until its successor does
    resumes(corpus, table, expected, *flags)


def test_kills_at_points_all_over_a_run_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    count = kill_points(8, tmp_path)
    assert count.killed >= 8
    assert count == Count(8, count.killed, count.repeated, count.most_repeated, 0, 0, 0, 0, 0)


@pytest.mark.slow
def test_a_kill_repeats_no_more_than_is_said(tmp_path: Path) -> None:
    found = repeated.kills(4, tmp_path)
    assert all(kill.committed > 0 for kill in found)
    assert 0 < max(kill.repeated for kill in found) <= repeated.MOST


def hold(moment: float) -> None:
    """Two processes that wait for one moment start together; the winner works long enough to be met."""
    commit = Table.commit

    def slow(self: Table, *arguments: Any, **options: Any) -> None:
        commit(self, *arguments, **options)
        time.sleep(0.1)

    Table.commit = slow  # type: ignore[method-assign]
    time.sleep(max(0.0, moment - time.time()))


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_of_two_drivers_that_start_in_the_same_second_one_works_and_one_leaves(
    corpus: Path, expected: Found, tmp_path: Path, rounds: int
) -> None:
    for turn in range(rounds):
        table = tmp_path / f"table-{turn}"
        moment = time.time() + 0.5
        both = [runs.start([str(corpus), str(table)], hold, moment) for _ in range(2)]
        for process in both:
            process.join(60)
        assert sorted(process.exitcode for process in both) == [0, 4]
        assert read(table) == (expected, 0)
