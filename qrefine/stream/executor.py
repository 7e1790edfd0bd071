"""The Ray executor: plans become a Ray Data stream, jobs become tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

import ray
from ray.exceptions import RayError
from typing_extensions import Self

from qrefine.config import RefineConfig
from qrefine.errors import BrokenRunError
from qrefine.stream.metrics import RayMeter
from qrefine.stream.nodes import count_nodes
from qrefine.stream.pipeline import failure_stream, records, refine_stream
from qrefine.stream.pools import Topology, plan_topology
from qrefine.stream.session import session
from qrefine.table.parts import PartRecord
from qrefine.work.executor import Job, Result
from qrefine.work.meter import Meter
from qrefine.work.plans import ShardPlan
from qrefine.work.write import Target

TASK_RETRIES = 3  # if a worker dies or the store fails; each attempt writes its own parts


class RayExecutor:
    """Connects to Ray, or starts it, while entered; raises UserError if that fails."""

    topology: Topology

    def __init__(self, config: RefineConfig, debug: bool = False) -> None:
        self.config, self._debug = config, debug
        self.cpus = self.gpus = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(session(self.config.stream, self._debug))
        resources = ray.cluster_resources()
        self.cpus, self.gpus = float(resources.get("CPU", 1)), float(resources.get("GPU", 0))
        self.topology = plan_topology(self.config, self.cpus, self.gpus)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def describe(self) -> str:
        nodes = self.nodes()
        return f"{nodes} node{'s' * (nodes > 1)}, {self.cpus:g} CPUs, {self.gpus:g} GPUs: {self.topology}"

    def nodes(self) -> int:
        return count_nodes()

    def meter(self, run: str) -> Meter:
        return RayMeter(run)

    def run(self, plans: Sequence[ShardPlan], target: Target, *, alone: bool = False) -> Iterator[PartRecord]:
        yield from records(refine_stream(plans, self.topology, target, alone=alone))

    def fail(self, plans: Sequence[ShardPlan], target: Target, reason: str) -> Iterator[PartRecord]:
        yield from records(failure_stream(plans, target, reason))

    def each(self, call: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[list[Result]]:
        """Up to two tasks per CPU at a time; raises BrokenRunError if one fails after all retries."""
        task = ray.remote(num_cpus=1, max_retries=TASK_RETRIES, retry_exceptions=True)(_apply)
        most = 2 * max(1, int(self.cpus))
        waiting = iter(jobs)
        running: list[ray.ObjectRef] = []
        try:
            while True:
                while len(running) < most and (job := next(waiting, None)) is not None:
                    running.append(task.remote(call, job))
                if not running:
                    return
                every = self.config.stream.commit_seconds
                ready, running = ray.wait(running, num_returns=len(running), timeout=every)
                yield ray.get(ready)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise BrokenRunError(f"a part of the work failed on Ray: {reason}; run it again") from error


def _apply(call: Callable[[Job], Result], job: Job) -> Result:
    """Ray tasks must be plain functions; ``call`` may be a partial."""
    return call(job)
