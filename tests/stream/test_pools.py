from __future__ import annotations

import pytest

from qrefine.config import load_config
from qrefine.pipelines.refiner import MODEL_STAGES
from qrefine.stream.pools import HELPER_CPUS, plan_topology


@pytest.mark.parametrize("topology", ["auto", "pooled", "colocated"])
@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64])
def test_without_a_gpu_readers_and_writers_always_find_a_cpu(topology: str, cpus: int) -> None:
    plan = plan_topology(load_config(None, [f"stream.topology={topology}"]), cpus, 0)
    actors = sum(pool.size * pool.cpus for pool in plan.pools)
    readers = max(1, cpus // 2)
    assert actors + (readers + 1) * HELPER_CPUS <= cpus
    assert [stage for pool in plan.pools for stage in pool.stages] == list(MODEL_STAGES)
    assert all(pool.gpus == 0 for pool in plan.pools)
    assert plan.write_in_pool


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_gpus_are_all_used_and_never_oversubscribed(gpus: int) -> None:
    for topology in ("colocated", "pooled"):
        plan = plan_topology(load_config(None, [f"stream.topology={topology}"]), 16 * gpus, gpus)
        assert sum(pool.size * pool.gpus for pool in plan.pools) == pytest.approx(gpus)
        assert not plan.write_in_pool


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
