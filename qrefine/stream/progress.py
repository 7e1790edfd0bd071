"""What a run has done so far: a live display on a terminal, else a plain line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from typing_extensions import Self

from qrefine.data.ledger import Ledger
from qrefine.data.parts import PartRecord

PLAIN_EVERY_S = 10.0


@dataclass
class Tally:
    """Counts over the parts of this run; the display, the plain lines and the summary all read it."""

    shards: int = 0  # in the input
    shards_done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    extra_images: int = 0
    quality_before: float = 0.0  # sums over the scored samples
    quality_after: float = 0.0
    scored: int = 0
    bytes_out: int = 0
    failed_shards: int = 0
    started: float = field(default_factory=time.monotonic)

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
        self.statuses.update(record.statuses)
        self.errors.update(record.errors)
        self.extra_images += record.extra_images
        before, after, scored = record.quality_sums
        self.quality_before += before
        self.quality_after += after
        self.scored += scored
        self.bytes_out += record.size
        self.failed_shards += sum(n for kind, n in record.errors.items() if kind.startswith("shard "))
        if ledger.complete(record.shard):
            self.shards_done += 1

    def remaining_s(self, shards_at_start: int) -> float | None:
        """Estimated seconds to the end, by shards; None while none was finished in this run."""
        done = self.shards_done - shards_at_start
        return None if done <= 0 else self.elapsed * (self.shards - self.shards_done) / done

    def line(self, shards_at_start: int = 0) -> str:
        left = self.remaining_s(shards_at_start)
        counts = ", ".join(f"{self.statuses[status]} {status}" for status in ("refined", "kept", "failed"))
        return (
            f"shards {self.shards_done}/{self.shards} | {self.samples} samples: {counts} |"
            f" {self.rate:.1f} images/s | {clock(self.elapsed)}" + (f" | {clock(left)} left" if left else "")
        )


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Display:
    """Shows a tally; a context manager."""

    def __init__(self, tally: Tally, console: Console | None = None) -> None:
        self._tally = tally
        self._console = console or Console(file=sys.stderr)
        self._shards_at_start = tally.shards_done
        self._last_plain = time.monotonic()
        self._bars: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("shards"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[counts]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._console,
                refresh_per_second=4,
                transient=True,
            )
            self._bars.start()
            self._task = self._bars.add_task("", total=self._tally.shards, counts="starting", left="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def update(self) -> None:
        """Show the tally as it is now."""
        tally = self._tally
        if self._bars is not None:
            left = tally.remaining_s(self._shards_at_start)
            counts = " ".join(f"{tally.statuses[name]} {name}" for name in ("refined", "kept", "failed"))
            self._bars.update(
                self._task,
                completed=tally.shards_done,
                counts=f"{counts}  {tally.rate:.1f} images/s",
                left="" if left is None else f"{clock(left)} left",
            )
        elif time.monotonic() - self._last_plain >= PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            self._console.print(tally.line(self._shards_at_start), highlight=False, soft_wrap=True)
