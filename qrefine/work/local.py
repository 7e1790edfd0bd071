"""The local executor, threads in this process: for small inputs, tests, plans and notebooks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from threading import local
from types import TracebackType

from typing_extensions import Self

from qrefine.config import RefineConfig
from qrefine.sample import Sample
from qrefine.stages.stage import Stage
from qrefine.storage.ahead import ahead
from qrefine.table.parts import PartRecord
from qrefine.work.executor import Job, Result
from qrefine.work.meter import Meter, NoMeter
from qrefine.work.plans import ShardPlan, read_plan
from qrefine.work.process import process
from qrefine.work.write import ShardRows, Target, Writer, all_failed, to_rows, write


class LocalExecutor:
    """Runs batches in ``workers`` threads (None: one per CPU), each with its own copy of the models.

    Models run with one thread each, as in an actor of a cluster, so the pixels are the same. A sample that kills
    its process ends the run; on a cluster it would only kill an actor.
    """

    gpus = 0.0

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or _cpus()
        self.cpus = float(self.workers)
        self._own = local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def describe(self) -> str:
        return f"in this process, {self.workers} thread{'s' * (self.workers > 1)}"

    def nodes(self) -> int:
        return 1

    def meter(self, run: str) -> Meter:
        return NoMeter()

    def run(self, plans: Sequence[ShardPlan], target: Target, *, alone: bool = False) -> Iterator[PartRecord]:
        config = target.config
        size = 1 if alone else config.stream.batch_size

        def work(samples: list[Sample]) -> list[ShardRows]:
            return to_rows(process(samples, self._stages(config), config), target)

        # a GPU holds one copy of the models
        workers = 1 if _has_gpu() else self.workers
        writer = Writer(target)
        for rows in ahead(work, _batches(plans, config, size), workers):
            yield from writer.append(rows)
            if alone:  # what is done must not be lost with the next sample
                yield from writer.close()
        yield from writer.close()

    def fail(self, plans: Sequence[ShardPlan], target: Target, reason: str) -> Iterator[PartRecord]:
        for batch in _batches(plans, target.config, 1):
            yield from write(all_failed(batch, reason), target)

    def each(self, call: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[list[Result]]:
        for result in ahead(call, jobs, self.workers):
            yield [result]

    def _stages(self, config: RefineConfig) -> list[Stage]:
        """This thread's own models: some cannot be shared between threads."""
        if getattr(self._own, "config", None) != config:
            import torch

            from qrefine.stages.refiner import MODEL_STAGES, build_stages

            torch.set_num_threads(1)  # the order of sums, and so the last bit, must not depend on the machine
            self._own.stages, self._own.config = build_stages(MODEL_STAGES, config), config
        stages: list[Stage] = self._own.stages
        return stages


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _cpus() -> int:
    """CPUs that this process may use; a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(plans: Sequence[ShardPlan], config: RefineConfig, size: int) -> Iterator[list[Sample]]:
    """Samples of the plans, ``size`` at a time, those of one shard together."""
    for plan in plans:
        samples = read_plan(plan, config)
        while batch := list(islice(samples, size)):
            yield batch
