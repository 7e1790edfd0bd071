"""Actor pools: which stages share a process, how many processes there are, and what each may use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Lock

import pyarrow as pa

from qrefine.config import Pool, RefineConfig
from qrefine.sample import Sample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.stage import Step, run_stages
from qrefine.stream.metrics import RayMeter
from qrefine.stream.writing import told
from qrefine.work.border import from_arrow, to_arrow
from qrefine.work.process import load
from qrefine.work.write import Target, Writer

POOLED = (("map",), ("noise", "inpaint"), ("enhance",), ("accept",))
LOCAL_ACTOR_CPUS = 0.5
DECODERS = 4  # threads of a GPU actor; Pillow releases the GIL while it decodes
HELPER_CPUS = 0.1  # per reader or writer; both must always fit beside the actors, or the stream deadlocks


@dataclass(frozen=True)
class Topology:
    """The pools in stream order.

    ``elastic``: pools start at their size, release idle actors, and grow when nodes join the cluster; otherwise
    sizes are fixed.
    """

    pools: tuple[Pool, ...]
    elastic: bool

    def __str__(self) -> str:
        return "; ".join(f"{pool.size} x [{', '.join(pool.stages)}]" for pool in self.pools)

    @property
    def gpus(self) -> float:
        return sum(pool.size * pool.gpus for pool in self.pools)


def plan_topology(config: RefineConfig, cpus: float, gpus: float) -> Topology:
    """Pools for a machine or cluster with the given logical CPUs and GPUs.

    ``auto`` is ``colocated``: on four logical GPUs it reached 171 of 182 images/s with a stable mix of needs
    and 156 of 169 with a drifting one; fixed pools reached 156 and 84. ``pooled`` is for models too large to share
    a GPU; it needs one GPU per pool, or none at all.
    """
    stream = config.stream
    gpus = gpus if stream.gpus is None else stream.gpus
    if stream.pools is not None:
        pools = stream.pools
    elif stream.topology == "pooled":
        pools = _pooled(cpus, gpus)
    else:
        pools = _colocated(cpus, gpus)
    return Topology(pools, elastic=stream.pools is None and any(pool.gpus for pool in pools))


def _colocated(cpus: float, gpus: float) -> tuple[Pool, ...]:
    """An actor per GPU, or per CPU without GPUs."""
    if gpus < 1:
        return (_pool(MODEL_STAGES, max(1, int(cpus)), gpus=0.0),)
    return (_pool(MODEL_STAGES, int(gpus), gpus=1.0, cpus=_beside_gpu(cpus, gpus)),)


def _pooled(cpus: float, gpus: float) -> tuple[Pool, ...]:
    """A pool per model. GPUs beyond one per pool go to inpainting, which has most of the work."""
    count = len(POOLED)
    if not gpus:
        return tuple(_pool(stages, 1, gpus=0.0, cpus=LOCAL_ACTOR_CPUS * cpus / count) for stages in POOLED)
    spare = max(0, int(gpus) - count)
    share = min(1.0, gpus / count)
    each = _beside_gpu(cpus, max(gpus, count))
    return tuple(
        _pool(stages, 1 + (spare if "inpaint" in stages else 0), gpus=share, cpus=each) for stages in POOLED
    )


def _beside_gpu(cpus: float, actors: float) -> float:
    """Logical CPUs of a GPU actor: one, or less if all actors would take more than half of the CPUs."""
    return min(1.0, LOCAL_ACTOR_CPUS * cpus / actors)


def _pool(stages: Sequence[str], size: int, *, gpus: float, cpus: float = LOCAL_ACTOR_CPUS) -> Pool:
    return Pool.model_validate({"stages": tuple(stages), "size": size, "gpus": gpus, "cpus": cpus})


class PoolActor:
    """A process of a pool: loads its models once, then maps blocks of samples to blocks of samples.

    If it ``writes`` it is the end of the stream: it writes its samples and returns the records of the parts.
    Several blocks may be under way in threads: while the models work on a batch of one, batches of the others are
    decoded, encoded and uploaded.
    """

    def __init__(self, pool: Pool, target: Target, slots: int, writes: bool) -> None:
        # a fixed count: the order of sums, and so the last bit, must not depend on the machine's load
        self._threads = max(1, int(pool.cpus))
        self._target, self._slots, self._writes = target, slots, writes
        _fix_threads(self._threads)
        self._stages = build_stages(pool.stages, target.config)
        self._models = Lock()
        # a GPU must not wait for decoding; on CPUs only, threads would compete for the same cores
        self._map = ThreadPoolExecutor(DECODERS).map if pool.gpus else map
        self._meter = RayMeter(target.run)
        self._name, self._device = "+".join(pool.stages), "gpu" if pool.gpus else "cpu"
        self._busy = 0.0  # seconds in stages since the last batch
        self._since = time.perf_counter()
        self._began = time.monotonic()

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Processes ``slots`` rows at a time; with decoder threads the next rows are decoded meanwhile."""
        _fix_threads(self._threads)
        load_one = partial(load, stages=self._stages, config=self._target.config)
        starts = range(0, max(1, block.num_rows), self._slots)
        coming = (self._map(load_one, from_arrow(block.slice(start, self._slots))) for start in starts)
        writer = Writer(self._target, self._began)
        loaded: Iterable[Sample] | None = next(coming)
        while loaded is not None:
            now, loaded = loaded, next(coming, None)
            done = self._run(list(now))
            if self._writes:
                if (records := told(partial(writer.add, done), self._target)).num_rows:
                    yield records
            else:
                yield to_arrow(done)
        if self._writes:
            yield told(writer.close, self._target)

    def _run(self, samples: Sequence[Sample]) -> list[Sample]:
        with self._models:
            done = run_stages(self._stages, samples, self._watch)
            self._account(len(done))
        return done

    def _watch(self, step: Step) -> None:
        self._meter.add("stage_seconds", step.seconds, stage=step.stage)
        self._meter.add("stage_samples", len(step.samples), stage=step.stage)
        self._busy += step.seconds

    def _account(self, samples: int) -> None:
        """Record a batch and the time since the previous one."""
        now = time.perf_counter()
        self._meter.add("batch_samples", samples, pool=self._name)
        self._meter.add("batch_slots", self._slots, pool=self._name)
        self._meter.add("busy_seconds", self._busy, pool=self._name, device=self._device)
        self._meter.add("idle_seconds", now - self._since - self._busy, pool=self._name, device=self._device)
        self._busy, self._since = 0.0, now


def _fix_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)  # each thread that calls a model has a count of its own
