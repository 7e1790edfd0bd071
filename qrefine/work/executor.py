"""What turns plans into parts: a cluster, or a loop in this process."""

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

    ``cpus`` and ``gpus`` are what it may use. Rows that it loses (a process died) simply do not come back as a
    record: the run notices and does them again. Errors of a store that stays away are raised.
    """

    cpus: float
    gpus: float

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def describe(self) -> str:
        """Where the work is done, in one line."""

    def nodes(self) -> int:
        """Machines that take part now."""

    def meter(self, run: str) -> Meter:
        """What records the metrics of a run."""

    def run(self, plans: Sequence[ShardPlan], target: Target, *, alone: bool = False) -> Iterator[PartRecord]:
        """The records of the parts as they are written.

        ``alone``: one sample at a time, so that one which kills its process takes no other with it.
        """

    def fail(self, plans: Sequence[ShardPlan], target: Target, reason: str) -> Iterator[PartRecord]:
        """The planned rows as failed ones, past all models."""

    def each(self, call: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[list[Result]]:
        """``call`` on every job, in any order; what is done every few seconds."""
