"""The loop in this process: the rows of a straight loop, in order, with a bounded look ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from qrefine.config import RefineConfig, load_config
from qrefine.corpus.images import decode
from qrefine.corpus.shards import read_shard
from qrefine.errors import UserError
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.storage.store import Store
from qrefine.table.parts import PartRecord
from qrefine.table.schema import make_row, table_schema
from qrefine.work.local import LocalExecutor
from qrefine.work.plans import ShardPlan
from qrefine.work.process import process
from qrefine.work.write import Target
from qrefine.work.write import encoded as encoded_sample
from tests.stream.backends import THROWER
from tests.support import PLAIN, encoded, photo, write_shards, write_tar

CONFIG = load_config(None, [*PLAIN, "stream.batch_size=2", "stream.part_rows=4"])
SHARDS, SAMPLES = 2, 5


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    """An executor sets the number of torch's threads, as a run of its own would."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_shards(tmp_path_factory.mktemp("shards"), shards=SHARDS, samples=SAMPLES, size=64)


def plans(shards: Sequence[Path], **more: Any) -> list[ShardPlan]:
    return [ShardPlan(str(path), path.stat().st_size, **more) for path in shards]


def rows_of(records: Sequence[PartRecord], root: Path) -> list[dict[str, Any]]:
    return [row for record in records for row in pq.read_table(root / record.path).to_pylist()]


def run(shards: Sequence[Path], root: Path, workers: int, config: RefineConfig = CONFIG, **more: Any) -> list[Any]:
    """The rows of all parts as they were written."""
    if not root.exists():
        root.mkdir()
    with LocalExecutor(workers) as executor:
        records = list(executor.run(plans(shards), Target(config, Store.at(str(root)), "run"), **more))
    return rows_of(records, root)


def straight(shards: Sequence[Path]) -> list[dict[str, Any]]:
    """The rows as a loop over samples makes them, one by one."""
    stages = build_stages(MODEL_STAGES, CONFIG)
    rows = [
        make_row(encoded_sample(sample, CONFIG), CONFIG, "run")
        for shard in shards
        for read in read_shard(str(shard), CONFIG.images)
        for sample in process([read], stages, CONFIG)
    ]
    return pa.Table.from_pylist(rows, schema=table_schema(CONFIG.judges)).to_pylist()


@pytest.mark.parametrize(("workers", "alone"), [(1, False), (2, False), (1, True), (2, True)])
def test_its_rows_are_those_of_a_straight_loop_in_its_order(
    shards: list[Path], tmp_path: Path, workers: int, alone: bool
) -> None:
    expected, found = straight(shards), run(shards, tmp_path, workers, alone=alone)
    assert {row["status"] for row in expected} == {"refined", "kept"}
    assert [(row["shard"], row["index"]) for row in found] == [
        (str(path), index) for path in shards for index in range(SAMPLES)
    ]
    assert found == expected  # the encoded images among them, to the last bit


def test_two_workers_give_the_pixels_of_one(shards: list[Path], tmp_path: Path) -> None:
    one, two = (
        [decode(row["image"]["bytes"], CONFIG.images) for row in run(shards, tmp_path / str(workers), workers)]
        for workers in (1, 2)
    )
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)


def test_a_part_is_gathered_from_batches_of_one_shard(shards: list[Path], tmp_path: Path) -> None:
    target = Target(CONFIG, Store.at(str(tmp_path)), "run")
    records = list(LocalExecutor(2).run(plans(shards), target))  # batches of two, parts of four
    assert [record.rows for record in records] == [((0, 4),), ((4, 5),)] * SHARDS
    assert [record.shard_rows for record in records] == [None, SAMPLES] * SHARDS
    alone = list(LocalExecutor(2).run(plans(shards[:1]), target, alone=True))
    assert [record.rows for record in alone] == [((i, i + 1),) for i in range(SAMPLES)]


def test_only_the_rows_that_are_missing_are_done(shards: list[Path], tmp_path: Path) -> None:
    plan = plans(shards[:1], done=((0, 2), (3, 4)), redrawn=((4, 5),), draw=3, version="9-v")
    records = list(LocalExecutor(1).run(plan, Target(CONFIG, Store.at(str(tmp_path)), "run")))
    rows = rows_of(records, tmp_path)
    assert [row["index"] for row in rows] == [2, 4]
    assert [row["shard_version"] for row in rows] == ["9-v", "9-v"]
    whole = {row["index"]: row["seed"] for row in straight(shards[:1])}
    assert rows[0]["seed"] == whole[2]
    assert rows[1]["seed"] != whole[4]


def test_it_reads_no_further_ahead_than_its_workers_need(tmp_path: Path) -> None:
    """Each plan is a shard of one batch: the plans are taken from a sequence that counts."""
    shards = write_shards(tmp_path, shards=12, samples=1, size=32)
    taken: list[str] = []

    class Counting(list[ShardPlan]):
        def __iter__(self) -> Iterator[ShardPlan]:
            for plan in super().__iter__():
                taken.append(plan.url)
                yield plan

    records = LocalExecutor(2).run(Counting(plans(shards)), Target(CONFIG, Store.at(str(tmp_path)), "run"))
    for done in range(1, 5):
        next(records)
        assert len(taken) <= done + 2  # one for each worker beside what is finished
    assert len(list(records)) == 8


def test_a_store_that_cannot_be_written_to_ends_the_run(shards: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot use"):
        run(shards, tmp_path / "file", 2)


def test_a_sample_that_a_model_throws_at_is_a_failed_row(tmp_path: Path) -> None:
    images = [photo(size=64) for _ in range(5)]
    images[3] = images[3].copy()
    images[3][0, 0] = THROWER
    shard = write_tar(tmp_path / "a.tar", [(f"{i}.png", encoded(image)) for i, image in enumerate(images)])
    dangerous = [*PLAIN, "mapper.name=tests.stream.backends:DangerousMapper", "stream.batch_size=4"]
    rows = run([shard], tmp_path / "table", 2, load_config(None, dangerous))
    assert [row["status"] == "failed" for row in rows] == [False, False, False, True, False]
    assert rows[3]["error"] == "RuntimeError in map: this image cannot be mapped"


def test_damage_is_a_failed_row_and_the_next_shard_is_done(shards: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar at all\n" * 1000)
    rows = run([tmp_path / "text.tar", shards[0]], tmp_path / "table", 2)
    assert [row["status"] == "failed" for row in rows] == [True] + [False] * SAMPLES
    assert (rows[0]["key"], rows[0]["shard_rows"]) == ("", 1)


def test_a_model_that_cannot_be_loaded_ends_the_run(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown mapper 'nope'"):
        run(shards, tmp_path, 1, load_config(None, [*PLAIN, "mapper.name=nope"]))


def test_failing_takes_no_model_and_keeps_the_readers_own_errors(shards: list[Path], tmp_path: Path) -> None:
    broken = write_tar(tmp_path / "a.tar", [("a.txt", b"no image here"), ("b.png", encoded(photo(size=16)))])
    config = load_config(None, [*PLAIN, "mapper.name=nope"])
    target = Target(config, Store.at(str(tmp_path)), "run")
    records = list(LocalExecutor(1).fail(plans([broken]), target, "killed its process"))
    rows = rows_of(records, tmp_path)
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert rows[0]["error"].startswith("no image member")
    assert rows[1]["error"] == "killed its process"
    assert [record.rows for record in records] == [((0, 1),), ((1, 2),)]


def test_jobs_are_done_side_by_side_and_each_result_comes_once() -> None:
    both = threading.Barrier(2, timeout=10)

    def square(number: int) -> int:
        both.wait()  # two are under way, or this breaks
        return number * number

    found = [result for some in LocalExecutor(2).each(square, iter(range(6))) for result in some]
    assert sorted(found) == [0, 1, 4, 9, 16, 25]
    assert list(LocalExecutor(2).each(square, [])) == []


def test_an_error_of_a_job_is_raised() -> None:
    def fail(number: int) -> int:
        raise UserError(f"job {number}")

    with pytest.raises(UserError, match="job 0"):
        list(LocalExecutor(1).each(fail, range(3)))


def test_it_says_where_and_with_how_much_it_works() -> None:
    with LocalExecutor(3) as executor:
        assert (executor.cpus, executor.gpus, executor.nodes()) == (3.0, 0.0, 1)
        assert executor.describe() == "in this process, 3 threads"
        executor.meter("run").add("samples", 3, status="kept")
    assert LocalExecutor(1).describe() == "in this process, 1 thread"
    assert LocalExecutor().cpus >= 1


def test_what_is_given_up_begins_nothing_more() -> None:
    started: list[int] = []

    def slow(number: int) -> int:
        started.append(number)
        time.sleep(0.02)
        return number

    coming = LocalExecutor(1).each(slow, iter(range(1000)))
    assert isinstance(coming, Generator)
    next(coming)
    coming.close()
    assert len(started) <= 3
