from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa
import pytest
import torch

from qrefine.config import Pool, load_config
from qrefine.models.mappers.piqe import PiqeMapper
from qrefine.quality.map import Image, QualityMap
from qrefine.sample import Sample
from qrefine.stages.refiner import MODEL_STAGES
from qrefine.storage.store import Store
from qrefine.stream.pools import HELPER_CPUS, PoolActor, plan_topology
from qrefine.work import process
from qrefine.work.border import blocks
from qrefine.work.write import Target
from tests.support import PLAIN, encoded, noisy, photo


@pytest.mark.parametrize("topology", ["auto", "pooled", "colocated"])
@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64])
def test_without_a_gpu_readers_and_writers_always_find_a_cpu(topology: str, cpus: int) -> None:
    plan = plan_topology(load_config(None, [f"stream.topology={topology}"]), cpus, 0)
    actors = sum(pool.size * pool.cpus for pool in plan.pools)
    readers = max(1, cpus // 2)
    assert actors + (readers + 1) * HELPER_CPUS <= cpus
    assert [stage for pool in plan.pools for stage in pool.stages] == list(MODEL_STAGES)
    assert all(pool.gpus == 0 for pool in plan.pools)


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_gpus_are_all_used_and_never_oversubscribed(gpus: int) -> None:
    for topology in ("colocated", "pooled"):
        plan = plan_topology(load_config(None, [f"stream.topology={topology}"]), 16 * gpus, gpus)
        assert sum(pool.size * pool.gpus for pool in plan.pools) == pytest.approx(gpus)


def test_explicit_pools_are_taken_as_they_are() -> None:
    pools = "stream.pools=[{stages: [map], size: 3}, {stages: [noise, inpaint, enhance, accept], gpus: 1}]"
    plan = plan_topology(load_config(None, [pools]), 8, 1)
    assert [(pool.stages[0], pool.size, pool.gpus) for pool in plan.pools] == [("map", 3, 0), ("noise", 1, 1)]


def test_pools_on_gpus_follow_the_cluster_and_all_others_stay() -> None:
    assert plan_topology(load_config(), 16, 4).elastic
    assert not plan_topology(load_config(), 16, 0).elastic
    pools = "stream.pools=[{stages: [map, noise, inpaint, enhance, accept], gpus: 1}]"
    assert not plan_topology(load_config(None, [pools]), 16, 4).elastic


def test_gpus_that_are_yet_to_come_are_asked_for() -> None:
    plan = plan_topology(load_config(None, ["stream.gpus=8"]), 2, 0)
    assert [(pool.size, pool.gpus) for pool in plan.pools] == [(8, 1.0)]
    assert plan.elastic
    assert plan_topology(load_config(None, ["stream.gpus=0"]), 8, 4).gpus == 0


@pytest.mark.parametrize("topology", ["colocated", "pooled"])
@pytest.mark.parametrize(("cpus", "gpus"), [(1, 1), (2, 2), (8, 8), (4, 1), (64, 8), (2, 4)])
def test_beside_gpus_half_of_the_cpus_stays_for_readers_and_writers(topology: str, cpus: int, gpus: int) -> None:
    plan = plan_topology(load_config(None, [f"stream.topology={topology}"]), cpus, gpus)
    assert sum(pool.size * pool.cpus for pool in plan.pools) <= cpus / 2
    assert all(pool.cpus <= 1 for pool in plan.pools)


DECODED = threading.Semaphore(0)
"""One for each image that was decoded since the last look."""


class Waiting(PiqeMapper):
    """Works on a batch until the images of the next one are there, or for ten seconds."""

    met: tuple[bool, ...] = ()

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        patience = 10 if len(type(self).met) < 2 else 0  # behind the last batches none follows
        met = all(DECODED.acquire(timeout=patience) for _ in images)
        type(self).met = (*self.met, met)
        return super().__call__(images)


def block() -> pa.Table:
    images = [encoded(noisy(photo(size=64), seed) if seed % 2 else photo(size=64)) for seed in range(6)]
    samples = [Sample("s.tar", i, f"k{i}", image, 1) for i, image in enumerate(images)]
    return next(blocks([*samples, Sample("s.tar", 6, "k6", b"garbage", 1)], 1e9))


def run(mapper: str, gpus: float, stages: Sequence[str] = MODEL_STAGES) -> list[pa.Table]:
    target = Target(load_config(None, [*PLAIN, f"mapper.name={mapper}"]), Store.at(""), "r")
    pool = Pool.model_validate({"stages": tuple(stages), "gpus": gpus})
    return list(PoolActor(pool, target, slots=2, writes=False)(block()))


@pytest.fixture
def _threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


@pytest.mark.usefixtures("_threads_stay")
def test_threads_that_decode_change_nothing() -> None:
    alone, beside = run("piqe", 0), run("piqe", 1)
    assert [table.num_rows for table in beside] == [2, 2, 2, 1]
    assert pa.concat_tables(alone).equals(pa.concat_tables(beside))
    assert beside[-1]["error"][0].as_py().startswith("not an image")


@pytest.mark.usefixtures("_threads_stay")
def test_beside_a_gpu_the_next_batch_is_decoded_while_one_is_worked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = process.read, threading.Lock()
    count = 0

    def counted(*arguments: object) -> object:
        nonlocal count
        with seen:
            count += 1
            if count > 2:  # those of the first batch come before anything is worked on
                DECODED.release()
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(process, "read", counted)
    Waiting.met = ()
    run(f"{__name__}:Waiting", 1, ["map"])
    assert Waiting.met[:2] == (True, True)
