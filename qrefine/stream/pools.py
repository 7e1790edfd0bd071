"""Actor pools: which stages share a process, how many processes there are, and what each may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from qrefine.config import Pool, RefineConfig
from qrefine.pipelines.refiner import MODEL_STAGES, build_stages
from qrefine.stream.blocks import run_on_batch
from qrefine.stream.write import Target, write_batch

POOLED = (("map",), ("noise", "inpaint"), ("enhance",), ("accept",))
LOCAL_ACTOR_CPUS = 0.5
HELPER_CPUS = 0.1  # of readers and writers beside them: what is left must always fit both, or nothing moves


@dataclass(frozen=True)
class Topology:
    """The pools in stream order, and whether the last one writes the parts itself; else writers do."""

    pools: tuple[Pool, ...]
    write_in_pool: bool


def plan_topology(config: RefineConfig, cpus: float, gpus: float) -> Topology:
    """Pools for a machine or cluster with so many logical CPUs and GPUs.

    ``auto`` is ``colocated``: on four logical GPUs it reached 171 of 182 images/s with a stable mix of needs
    and 156 of 169 with a drifting one, where fixed pools reached 156 and 84 (design, section 6). ``pooled`` is
    for models too large to share a GPU; it needs one GPU per pool, or none at all.
    """
    stream = config.stream
    if stream.pools is not None:
        pools = stream.pools
    elif stream.topology == "pooled":
        pools = _pooled(cpus, gpus)
    else:
        pools = (_pool(MODEL_STAGES, max(1, int(gpus) if gpus else int(cpus)), gpus=1.0 if gpus >= 1 else 0.0),)
    # a GPU must not wait for an encoder; without GPUs a hop less is a copy less, and nothing piles up before it
    return Topology(pools, write_in_pool=not any(pool.gpus for pool in pools))


def _pooled(cpus: float, gpus: float) -> tuple[Pool, ...]:
    """A pool per model. GPUs beyond one each go to where the work is: inpainting."""
    count = len(POOLED)
    if not gpus:
        return tuple(_pool(stages, 1, gpus=0.0, cpus=LOCAL_ACTOR_CPUS * cpus / count) for stages in POOLED)
    spare = max(0, int(gpus) - count)
    share = min(1.0, gpus / count)
    return tuple(_pool(stages, 1 + (spare if "inpaint" in stages else 0), gpus=share) for stages in POOLED)


def _pool(stages: Sequence[str], size: int, *, gpus: float, cpus: float | None = None) -> Pool:
    cpus = (1.0 if gpus else LOCAL_ACTOR_CPUS) if cpus is None else cpus
    return Pool.model_validate({"stages": tuple(stages), "size": size, "gpus": gpus, "cpus": cpus})


class PoolActor:
    """One process of a pool: loads its models once, then turns batches of working rows into such batches.

    With a ``target`` it is the end of the stream: it writes its rows and gives the records of the parts.
    """

    def __init__(self, config: RefineConfig, pool: Pool, target: Target | None) -> None:
        import torch

        # a fixed count: the order of sums, and with it the last bit, must not depend on the machine's load
        torch.set_num_threads(max(1, int(pool.cpus)))
        self._config = config
        self._stages = build_stages(pool.stages, config)
        self._target = target

    def __call__(self, batch: pa.Table) -> pa.Table:
        done = run_on_batch(batch, self._stages, self._config)
        return done if self._target is None else write_batch(done, self._target)
