"""What the Delta log says of a table's rows, piece by piece.

A piece is the rows of one shard in one part. A part that qrefine wrote is one piece, and its statistics hold all
that is needed. Another engine's part (``OPTIMIZE`` puts several shards into one) is opened, and gives a piece for
each shard.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from qrefine.table.ledger import Ledger, Rows, ShardState
from qrefine.table.parts import PREFIX, STATISTICS

ReadColumns = Callable[[str, Sequence[str]], pa.Table]  # of a part, by its path
READERS = 16  # parts that are opened at a time: object storage is bound by latency
MIXED = "several"  # the version of rows that were read from several versions of their shard
TYPES = {"index": pa.int64(), "quality_after": pa.float64(), "shard_rows": pa.int64()}  # of statistics; else text
EXTREMES = pa.struct([(name, TYPES.get(name, pa.string())) for name in STATISTICS])
LOGGED = pa.schema([("numRecords", pa.int64()), ("minValues", EXTREMES), ("maxValues", EXTREMES)])


class Piece(NamedTuple):  # a table has millions, and a dataclass takes three times as long to make
    """Rows of one shard in one part."""

    path: str  # of the part, below the table's root
    size: int  # of the whole part, bytes
    shard: str
    version: str | None  # of the shard when it was read; None where its store gave none
    count: int  # type: ignore[assignment]  # hides the method of tuples
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


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's collector of cycles: millions of records have none, and it would go through them again and
    again, which takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def with_statistics(adds: pa.StructArray) -> pa.Table:
    """The columns of `Table.actions`, of the log's add actions; their statistics are JSON."""
    given = pc.fill_null(adds.field("stats"), "{}").to_pylist()
    text = "\n".join(one.replace("\n", " ") or "{}" for one in given).encode()
    if given:
        stats = pj.read_json(
            pa.BufferReader(text),
            read_options=pj.ReadOptions(block_size=max(1 << 20, *map(len, given)) + 1),
            parse_options=pj.ParseOptions(explicit_schema=LOGGED, unexpected_field_behavior="ignore"),
        ).combine_chunks()
    else:
        stats = LOGGED.empty_table()
    columns = {"path": adds.field("path"), "size_bytes": adds.field("size"), "num_records": stats["numRecords"]}
    for end, name in (("min", "minValues"), ("max", "maxValues")):
        for field in STATISTICS:
            columns[f"{end}.{field}"] = pc.struct_field(stats[name], field)
    return pa.table(columns)


def read_pieces(actions: pa.Table, read: ReadColumns) -> Iterator[Piece]:
    """The pieces of parts (see `Table.actions`); opens those that have no statistics of ours, and no others."""
    own = pc.and_(pc.starts_with(actions["path"], PREFIX), pc.is_valid(actions["min.index"]))
    yield from _pieces(actions.filter(own))
    for part in actions.filter(pc.invert(own)).to_pylist():
        yield from _opened(part, read(part["path"], STATISTICS))


def _pieces(parts: pa.Table) -> Iterator[Piece]:
    def column(name: str) -> list[Any]:
        return parts[name].to_pylist()

    def shared(name: str) -> list[str | None]:
        """Equal strings are one object: shards and digests repeat."""
        names = parts[name].combine_chunks().dictionary_encode()
        values = names.dictionary.to_pylist()
        return [None if code is None else values[code] for code in names.indices.to_pylist()]

    configs: dict[tuple[str | None, str | None], tuple[str, ...]] = {}
    for path, size, shard, low, high, count, first, last, total, status, worst, least, greatest in zip(
        column("path"),
        column("size_bytes"),
        shared("min.shard"),
        shared("min.shard_version"),
        shared("max.shard_version"),
        column("num_records"),
        column("min.index"),
        column("max.index"),
        column("max.shard_rows"),
        shared("min.status"),
        column("min.quality_after"),
        shared("min.config"),
        shared("max.config"),
        strict=True,
    ):
        if (both := configs.get((least, greatest))) is None:
            both = configs[least, greatest] = tuple(sorted({least, greatest} - {None}))
        yield Piece(
            path,
            size,
            shard,
            low if low == high else MIXED,
            count,
            first,
            last,
            total,
            status == "failed",  # alphabetically the first of the three
            worst,
            both,
        )


def _opened(part: dict[str, Any], rows: pa.Table) -> Iterator[Piece]:
    for shard in pc.unique(rows["shard"]).to_pylist():
        some = rows.filter(pc.equal(rows["shard"], shard))
        extremes = {name: pc.min_max(some[name]).as_py() for name in STATISTICS}
        found = {f"{end}.{name}": extremes[name][end] for name in STATISTICS for end in ("min", "max")}
        one = {**part, **found, "num_records": some.num_rows}
        yield from _pieces(pa.table({name: pa.array([one[name]], _type(name)) for name in one}))


def _type(column: str) -> pa.DataType:
    """Of a column of `with_statistics`."""
    if column in ("size_bytes", "num_records"):
        return pa.int64()
    return TYPES.get(column.partition(".")[2], pa.string())


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
        total = max((piece.total for piece in its if piece.total is not None), default=None)
        if total is not None and sum(piece.count for piece in its) >= total:
            rows = Rows.from_ranges([(0, total)])
        else:
            known = [(piece, piece.rows) for piece in its]
            rows = Rows.from_ranges(
                pair for piece, rows in known for pair in (rows or indexes(piece, read)).ranges
            )
        ledger.shards[shard] = ShardState(rows, total)
    return ledger


def indexes(piece: Piece, read: ReadColumns) -> Rows:
    """The indexes of a piece, read from its part."""
    rows = read(piece.path, ["shard", "index"])
    return Rows(rows.filter(pc.equal(rows["shard"], piece.shard))["index"].to_pylist())
