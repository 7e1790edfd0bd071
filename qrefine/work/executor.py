"""Interface of executors, which turn plans into parts: on a cluster or in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

from typing_extensions import Self

from qrefine.table.parts import PartRecord
from qrefine.work.meter import Meter
from qrefine.work.plans import ShardPlan
from qrefine.work.write import Target

Job = TypeVar("Job")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs `process` and `write` over planned shards while it is entered.

    ``cpus`` and ``gpus`` are what it may use. Rows that are lost when a process dies have no record: the run
    notices and retries them. Errors of a store that stays unavailable are raised.
    """

    cpus: float
    gpus: float

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def describe(self) -> str:
        """One line for the user: where the work is done."""

    def nodes(self) -> int:
        """Current number of machines."""

    def meter(self, run: str) -> Meter:
        """The meter that records the metrics of a run."""

    def run(self, plans: Sequence[ShardPlan], target: Target, *, alone: bool = False) -> Iterator[PartRecord]:
        """The records of the parts as they are written.

        ``alone``: one sample at a time, so that a sample that kills its process loses no others.
        """

    def fail(self, plans: Sequence[ShardPlan], target: Target, reason: str) -> Iterator[PartRecord]:
        """Writes the planned rows as failed, without running models."""

    def each(self, call: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[list[Result]]:
        """``call`` on every job, in any order; yields the finished results every few seconds."""
