"""Which rows of which shards are committed. Pure bookkeeping: no files, no Delta.

Invariant: a shard is complete when its last row gave its number of rows, and that many are committed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Ranges = tuple[tuple[int, int], ...]


class Rows:
    """A set of row indexes as half-open ranges: small where rows are contiguous, as they mostly are."""

    __slots__ = ("ranges",)

    def __init__(self, indexes: Iterable[int] = ()) -> None:
        self.ranges: Ranges = _joined((i, i + 1) for i in indexes)

    @classmethod
    def from_ranges(cls, ranges: Iterable[tuple[int, int]]) -> Rows:
        rows = cls.__new__(cls)
        rows.ranges = _joined(ranges)
        return rows

    def __contains__(self, index: int) -> bool:
        position = bisect_right(self.ranges, (index, float("inf"))) - 1
        return position >= 0 and index < self.ranges[position][1]

    def __len__(self) -> int:
        return sum(end - start for start, end in self.ranges)

    def __iter__(self) -> Iterator[int]:
        return (index for start, end in self.ranges for index in range(start, end))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"Rows{self.ranges}"

    def __or__(self, other: Rows) -> Rows:
        return Rows.from_ranges((*self.ranges, *other.ranges))

    def __sub__(self, other: Rows) -> Rows:
        left: list[tuple[int, int]] = []
        for start, end in self.ranges:
            for out, back in other.ranges[max(0, bisect_right(other.ranges, (start,)) - 1) :]:
                if out >= end:
                    break
                left.append((start, min(out, end)))
                start = max(start, back)
            left.append((start, end))
        return Rows.from_ranges(left)

    def __and__(self, other: Rows) -> Rows:
        return self - (self - other)

    def overlaps(self, other: Rows) -> bool:
        return len(self | other) < len(self) + len(other)


def _joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    ordered = sorted(ranges)
    if len(ordered) == 1 and ordered[0][0] < ordered[0][1]:  # as nearly always, and there are millions
        return (ordered[0],)
    result: list[tuple[int, int]] = []
    for start, end in ordered:
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        elif start < end:
            result.append((start, end))
    return tuple(result)


class ShardState:
    """What the log says of one shard."""

    __slots__ = ("rows", "total")

    def __init__(self, rows: Rows | None = None, total: int | None = None) -> None:
        self.rows, self.total = rows or Rows(), total

    @property
    def complete(self) -> bool:
        return self.total is not None and len(self.rows) >= self.total


@dataclass
class Ledger:
    """The committed rows of every shard."""

    shards: dict[str, ShardState] = field(default_factory=dict)

    def state(self, shard: str) -> ShardState:
        found = self.shards.get(shard)
        if found is None:
            found = self.shards[shard] = ShardState()
        return found

    def admit(self, shard: str, rows: Rows, total: int | None) -> bool:
        """Record rows that are about to be committed; False, and none recorded, if one of them already was.

        So a task that Ray ran twice never adds a sample twice.
        """
        state = self.state(shard)
        if state.rows.overlaps(rows):
            return False
        state.rows = state.rows | rows
        if total is not None:
            state.total = total
        return True

    def forget(self, shard: str, rows: Rows) -> None:
        """Remove rows that are to be done again; with the shard's last row its total is removed too."""
        state = self.state(shard)
        state.rows -= rows
        if state.total is not None and state.total - 1 in rows:
            state.total = None

    def complete(self, shard: str) -> bool:
        found = self.shards.get(shard)
        return found is not None and found.complete

    @property
    def row_count(self) -> int:
        return sum(len(state.rows) for state in self.shards.values())
