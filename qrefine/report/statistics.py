"""Counts over a table, one chunk at a time; memory does not grow with the number of rows.

Names that come from the data (shards, generators, kinds of error) are bounded too: beyond MOST_NAMES of a kind
the rest is counted together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qrefine.config import Bounds
from qrefine.report.rows import Rows, Values
from qrefine.table.parts import error_kind

BINS = 50  # of q
CELLS = 40  # of q before against q after, on each side
MOST_NAMES = 20_000
NAME_CHARS = 120
OTHERS = "(others)"
UNNAMED = "(not named)"
GROUPS = ("LQ", "MQ", "HQ")
PATHS = ("enhance_blind", "enhance_prompt", "inpaint")  # by the last pipeline that ran
EXAMPLES = 3  # of each kind of failure, in the order of shards and indexes
LOWER_IS_BETTER = frozenset({"piqe", "brisque", "niqe", "ilniqe", "pi", "brisque_matlab", "niqe_matlab"})
COLUMNS = (
    "shard",
    "index",
    "status",
    "decision",
    "error",
    "width",
    "height",
    "metadata",
    "quality_before",
    "quality_after",
    "lq_fraction",
    "mq_fraction",
    "stages",
    "run",
    "config",
)


@dataclass
class Moments:
    """Count, mean and standard error of a stream of values."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: Values) -> None:
        self.count += len(values)
        self.total += float(values.sum())
        self.squares += float((values**2).sum())

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else float("nan")

    @property
    def error(self) -> float:
        """Half the width of the 95 % confidence interval of the mean."""
        if self.count < 2:
            return float("nan")
        variance = max(0.0, self.squares / self.count - self.mean**2) * self.count / (self.count - 1)
        return float(1.96 * (variance / self.count) ** 0.5)


@dataclass
class Tally:
    """Rows of one shard or generator."""

    rows: int = 0
    refined: int = 0
    failed: int = 0
    scored: int = 0
    before: float = 0.0
    after: float = 0.0

    @property
    def mean_before(self) -> float:
        return self.before / self.scored if self.scored else float("nan")

    @property
    def mean_after(self) -> float:
        return self.after / self.scored if self.scored else float("nan")


@dataclass
class ErrorKind:
    """Failures of one kind, and the first few of them: shard, index, message."""

    count: int = 0
    first: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass
class Judge:
    """A judge beside the deciding score; ``gain`` is positive where the judge sees an improvement."""

    name: str
    lower_is_better: bool
    before: Moments = field(default_factory=Moments)
    after: Moments = field(default_factory=Moments)
    better: int = 0
    worse: int = 0
    same: int = 0
    by_group: list[Moments] = field(default_factory=lambda: [Moments() for _ in GROUPS])

    @property
    def count(self) -> int:
        return self.before.count

    def gain(self, rows: Rows) -> Values:
        change = rows.numbers(f"{self.name}_after") - rows.numbers(f"{self.name}_before")
        return -change if self.lower_is_better else change


class Statistics:
    """All that the report says in numbers."""

    def __init__(self, bounds: Bounds, judges: Sequence[str], lower_is_better: frozenset[str]) -> None:
        self.bounds = bounds
        self.judges = [Judge(name, name.lower() in lower_is_better) for name in judges]
        self.statuses: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.configs: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.decisions: Counter[str] = Counter()  # of rows that tell
        self.errors: dict[str, ErrorKind] = {}
        self.shards: dict[str, Tally] = {}
        self.generators: dict[str, Tally] = {}
        self.before, self.after = Moments(), Moments()
        self.histogram_before = np.zeros(BINS, dtype=np.int64)
        self.histogram_after = np.zeros(BINS, dtype=np.int64)
        self.joint = np.zeros((CELLS, CELLS), dtype=np.int64)  # refined rows: [before, after]
        self.gains = Moments()  # of refined rows
        self.group_rows = np.zeros(len(GROUPS), dtype=np.int64)
        self.group_refined = np.zeros(len(GROUPS), dtype=np.int64)
        self.group_gain = [[Moments() for _ in PATHS] for _ in GROUPS]
        self.megapixels = self.megapixels_low = 0.0  # of scored images; of that below B_MQ
        self.lowered = 0  # rows whose q fell: accept must leave none

    @property
    def rows(self) -> int:
        return sum(self.statuses.values())

    def add(self, rows: Rows) -> None:
        """Count a chunk."""
        for name, counter in (("status", self.statuses), ("run", self.runs), ("config", self.configs)):
            for entry in rows.table[name].value_counts().to_pylist():
                counter[entry["values"] or UNNAMED] += entry["counts"]
        for entry in rows.table["decision"].drop_null().value_counts().to_pylist():
            self.decisions[entry["values"]] += entry["counts"]
        self._errors(rows)
        _tally(self.shards, *rows.codes("shard"), rows)
        codes, texts = rows.codes("metadata")
        _tally(self.generators, codes, [generator(text) for text in texts], rows)
        self._quality(rows)
        for name, flags in rows.stages.items():
            self.stages[name] += int(flags.sum())
        for judge in self.judges:
            self._judge(judge, rows)

    def _errors(self, rows: Rows) -> None:
        if not rows.failed.any():
            return
        failed = rows.table.select(["error", "shard", "index"]).filter(pa.array(rows.failed))
        for row in failed.to_pylist():
            text = row["error"] or UNNAMED
            kind = error_kind(text)[:NAME_CHARS]
            if kind not in self.errors and len(self.errors) >= MOST_NAMES:
                kind = OTHERS
            entry = self.errors.setdefault(kind, ErrorKind())
            entry.count += 1
            entry.first = sorted([*entry.first, (row["shard"], row["index"], text[: 4 * NAME_CHARS])])[:EXAMPLES]

    def _quality(self, rows: Rows) -> None:
        scored = ~np.isnan(rows.before)
        before, after = rows.before[scored], rows.after[scored]
        self.before.add(before)
        self.after.add(after)
        self.lowered += int((after < before).sum())
        self.histogram_before += np.histogram(before, BINS, (0, 1))[0]
        self.histogram_after += np.histogram(after, BINS, (0, 1))[0]
        size = (rows.numbers("width") * rows.numbers("height"))[scored] / 1e6
        low = (rows.numbers("lq_fraction") + rows.numbers("mq_fraction"))[scored]
        self.megapixels += float(np.nansum(size))
        self.megapixels_low += float(np.nansum(size * low))
        refined = rows.refined & scored
        gain = rows.after - rows.before
        self.gains.add(gain[refined])
        self.joint += np.histogram2d(rows.before[refined], rows.after[refined], CELLS, [[0, 1], [0, 1]])[0].astype(
            np.int64
        )
        group = self.groups(rows)
        self.group_rows += np.bincount(group[scored], minlength=len(GROUPS))
        self.group_refined += np.bincount(group[refined], minlength=len(GROUPS))
        left = refined.copy()
        for position, path in enumerate(PATHS):
            ran = left & rows.stages.get(path, np.zeros(len(rows), dtype=bool))
            left &= ~ran
            for number in range(len(GROUPS)):
                self.group_gain[number][position].add(gain[ran & (group == number)])

    def groups(self, rows: Rows) -> NDArray[np.int64]:
        """0, 1, 2 for LQ, MQ, HQ, by the image's q before; rows without a score count as HQ."""
        return np.digitize(rows.before, [self.bounds.lq, self.bounds.mq]).astype(np.int64)

    def _judge(self, judge: Judge, rows: Rows) -> None:
        gain = judge.gain(rows)
        judged = rows.refined & ~np.isnan(gain)
        judge.before.add(rows.numbers(f"{judge.name}_before")[judged])
        judge.after.add(rows.numbers(f"{judge.name}_after")[judged])
        judge.better += int((gain[judged] > 0).sum())
        judge.worse += int((gain[judged] < 0).sum())
        judge.same += int((gain[judged] == 0).sum())
        group = self.groups(rows)
        for number, moments in enumerate(judge.by_group):
            moments.add(gain[judged & (group == number)])


def generator(metadata: str | None) -> str:
    """The ``generator`` of a json member; UNNAMED where it has none or is not json."""
    try:
        values = json.loads(metadata) if metadata else None
    except (ValueError, RecursionError):
        return UNNAMED
    name = values.get("generator") if isinstance(values, dict) else None
    return name[:NAME_CHARS] if isinstance(name, str) and name else UNNAMED


def _tally(tallies: dict[str, Tally], codes: NDArray[np.int64], names: Sequence[str | None], rows: Rows) -> None:
    """Add each row to the tally of its name."""
    scored = ~np.isnan(rows.before)
    weights = (
        np.ones(len(rows)),
        rows.refined,
        rows.failed,
        scored,
        np.where(scored, rows.before, 0),
        np.where(scored, rows.after, 0),
    )
    sums = [np.bincount(codes, weight, len(names)) for weight in weights]
    for position, name in enumerate(names):
        key = name or UNNAMED
        if key not in tallies and len(tallies) >= MOST_NAMES:
            key = OTHERS
        tally = tallies.setdefault(key, Tally())
        count, refined, failed, with_score, before, after = (float(total[position]) for total in sums)
        tally.rows += int(count)
        tally.refined += int(refined)
        tally.failed += int(failed)
        tally.scored += int(with_score)
        tally.before += before
        tally.after += after
