"""Progress of a run: a live display on a terminal, else a plain line every ten seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typing_extensions import Self

from qrefine.table.ledger import Ledger
from qrefine.table.parts import PartRecord
from qrefine.table.schema import STATUSES
from qrefine.work.meter import Meter, NoMeter

PLAIN_EVERY_S = 10.0
BAR_EVERY_S = 0.25


@dataclass
class Totals:
    """Totals over the parts of this run, for the display, the metrics and the summary."""

    shards: int = 0  # in the input
    shards_done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    extra_images: int = 0
    quality_before: float = 0.0  # sums over the scored samples
    quality_after: float = 0.0
    scored: int = 0
    failed_shards: int = 0
    bytes_to_do: int = 0  # of the planned shards; 0: the store does not report sizes
    bytes_done: int = 0
    started: float = field(default_factory=time.monotonic)
    meter: Meter = field(default_factory=NoMeter)
    _complete: set[str] = field(default_factory=set)  # of the shards that this run completed

    @property
    def samples(self) -> int:
        return sum(self.statuses.values())

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Images per second since the start."""
        return self.samples / max(self.elapsed, 1e-9)

    def add(self, record: PartRecord, ledger: Ledger) -> None:
        """Count a part that was committed."""
        for status, count in record.statuses.items():
            self.meter.add("samples", count, status=status)
        self.meter.add("committed_bytes", record.size)
        self.statuses.update(record.statuses)
        self.errors.update(record.errors)
        self.decisions.update(record.decisions)
        self.notes.update(record.notes)
        for decision, count in record.decisions.items():
            self.meter.add("decisions", count, decision=decision)
        self.extra_images += record.extra_images
        before, after, scored = record.quality_sums
        self.quality_before += before
        self.quality_after += after
        self.scored += scored
        self.bytes_done += record.source_bytes
        self.failed_shards += sum(n for kind, n in record.errors.items() if kind.startswith("shard "))
        if ledger.complete(record.shard) and record.shard not in self._complete:
            self._complete.add(record.shard)  # several parts of it may come in one commit
            self.shards_done += 1

    def committed(self, seconds: float) -> None:
        """Count a commit to the table's log."""
        self.meter.add("commits")
        self.meter.add("commit_seconds", seconds)

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds to the end, by bytes; None while there is nothing to estimate from."""
        if not self.bytes_done or not self.bytes_to_do:
            return None
        return self.elapsed * max(0.0, self.bytes_to_do / self.bytes_done - 1)

    @property
    def counts(self) -> str:
        return ", ".join(f"{self.statuses[status]} {status}" for status in STATUSES)

    def line(self) -> str:
        """All totals in one plain line."""
        left = self.remaining_s
        return (
            f"shards {self.shards_done}/{self.shards} | {self.samples} samples: {self.counts} |"
            f" {self.rate:.1f} images/s | {clock(self.elapsed)}" + (f" | {clock(left)} left" if left else "")
        )


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Display:
    """Shows totals while entered; a thread updates them, so that output continues during a slow batch.

    ``nodes`` returns the number of machines; a line is printed when it changes.
    """

    def __init__(self, totals: Totals, nodes: Callable[[], int], console: Console | None = None) -> None:
        self._totals, self._count_nodes = totals, nodes
        self._console = console or Console(file=sys.stderr)
        self._told: set[str] = set()  # kinds of errors
        self._nodes = nodes()
        self._bars = Progress(
            TextColumn("shards"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._bars.add_task("", total=totals.shards, counts="starting", left="")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick_for_ever, name="qrefine-progress", daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._console.is_terminal:
            self._bars.stop()

    def show(self) -> None:
        """Show the totals as they are now: a bar or a line, and a line for each new kind of error."""
        totals = self._totals
        totals.meter.set("images_per_second", totals.rate)
        totals.meter.set("shards", totals.shards, state="total")
        totals.meter.set("shards", totals.shards_done, state="done")
        errors = dict(totals.errors)  # a copy: the committer keeps counting
        for kind in errors.keys() - self._told:
            self._print(f"failing: {kind} ({errors[kind]} so far)")
            self._told.add(kind)
        nodes = self._count_nodes()
        if nodes != self._nodes:
            self._print(f"nodes: {nodes} alive, {self._nodes} before")
            self._nodes = nodes
        if not self._console.is_terminal:
            self._print(totals.line())
            return
        left = totals.remaining_s
        self._bars.update(
            self._task,
            completed=totals.shards_done,
            counts=f"{totals.counts}, {totals.rate:.1f} images/s",
            left="" if left is None else f"{clock(left)} left",
        )

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _tick_for_ever(self) -> None:
        while not self._stop.wait(BAR_EVERY_S if self._console.is_terminal else PLAIN_EVERY_S):
            self.show()
