"""What the Delta log says of a table's rows, piece by piece.

A piece is the rows of one shard in one part. A part that qrefine wrote is one piece, and its statistics hold all
that is needed. Another engine's part (``OPTIMIZE`` puts several shards into one) is opened, and gives a piece for
each shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qrefine.table.ledger import Ledger, Rows
from qrefine.table.parts import PREFIX, STATISTICS

ReadColumns = Callable[[str, Sequence[str]], pa.Table]  # of a part, by its path
READERS = 16  # parts that are opened at a time: object storage is bound by latency
MIXED = "several"  # the version of rows that were read from several versions of their shard


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of one shard in one part."""

    path: str  # of the part, below the table's root
    size: int  # of the whole part, bytes
    shard: str
    version: str | None  # of the shard when it was read; None where its store gave none
    count: int
    first: int  # least and greatest index
    last: int
    total: int | None  # of the shard, where its last row is here
    failed: bool  # whether a failed row is among them
    worst: float | None  # least quality_after
    configs: tuple[str, ...]  # the least and the greatest digest

    @property
    def own(self) -> bool:
        return self.path.startswith(PREFIX)

    @property
    def rows(self) -> Rows | None:
        """The indexes; None where they have gaps, and must be read from the part."""
        whole = self.last - self.first + 1 == self.count
        return Rows.from_ranges([(self.first, self.last + 1)]) if whole else None


def read_pieces(actions: pa.Table, read: ReadColumns) -> Iterator[Piece]:
    """The pieces of a table from its add actions; opens the parts of other engines, and no others."""
    columns = [f"{end}.{name}" for name in STATISTICS for end in ("min", "max")]
    for name in columns:
        if name not in actions.column_names:  # absent while no part has the statistic
            actions = actions.append_column(name, pa.nulls(actions.num_rows))
    for batch in actions.select(["path", "size_bytes", "num_records", *columns]).to_batches(1024):
        for part in batch.to_pylist():
            if part["path"].startswith(PREFIX):
                yield _piece(part, part["num_records"])
            else:
                yield from _opened(part, read(part["path"], STATISTICS))


def _piece(part: dict[str, Any], count: int) -> Piece:
    low, high = part["min.shard_version"], part["max.shard_version"]
    return Piece(
        path=part["path"],
        size=part["size_bytes"],
        shard=part["min.shard"],
        version=low if low == high else MIXED,
        count=count,
        first=part["min.index"],
        last=part["max.index"],
        total=part["max.shard_rows"],
        failed=part["min.status"] == "failed",  # alphabetically the first of the three
        worst=part["min.quality_after"],
        configs=tuple(sorted({part["min.config"], part["max.config"]} - {None})),
    )


def _opened(part: dict[str, Any], rows: pa.Table) -> Iterator[Piece]:
    for shard in pc.unique(rows["shard"]).to_pylist():
        some = rows.filter(pc.equal(rows["shard"], shard))
        extremes = {name: pc.min_max(some[name]).as_py() for name in STATISTICS}
        found = {f"{end}.{name}": extremes[name][end] for name in STATISTICS for end in ("min", "max")}
        yield _piece({**part, **found}, some.num_rows)


def recorded_versions(pieces: Iterable[Piece]) -> dict[str, set[str | None]]:
    """The versions of each shard that rows were read from."""
    versions: dict[str, set[str | None]] = {}
    for piece in pieces:
        versions.setdefault(piece.shard, set()).add(piece.version)
    return versions


def has_changed(version: str | None, recorded: set[str | None]) -> bool:
    """Whether a shard changed since its rows were read; False where its store gives no versions."""
    return version is not None and bool(recorded - {None, version})


def build_ledger(pieces: Iterable[Piece], read: ReadColumns) -> Ledger:
    """The committed rows. A part is opened only where its rows have gaps and its shard is not complete."""
    shards: dict[str, list[Piece]] = {}
    for piece in pieces:
        shards.setdefault(piece.shard, []).append(piece)
    ledger = Ledger()
    for shard, its in shards.items():
        state = ledger.state(shard)
        state.total = max((piece.total for piece in its if piece.total is not None), default=None)
        if state.total is not None and sum(piece.count for piece in its) >= state.total:
            state.rows = Rows.from_ranges([(0, state.total)])
        else:
            known = [(piece, piece.rows) for piece in its]
            state.rows = Rows.from_ranges(
                pair for piece, rows in known for pair in (rows or indexes(piece, read)).ranges
            )
    return ledger


def indexes(piece: Piece, read: ReadColumns) -> Rows:
    """The indexes of a piece, read from its part."""
    rows = read(piece.path, ["shard", "index"])
    return Rows(rows.filter(pc.equal(rows["shard"], piece.shard))["index"].to_pylist())
