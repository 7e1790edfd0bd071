"""Output: refined pixels are encoded, samples become rows, and rows become parts.

A part is what a kill may cost, and each part costs something in the log for ever. So parts grow with the run: a
part is gathered for a twentieth of its writer's age, within limits of seconds, rows and bytes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import pyarrow as pa

from qrefine import __version__
from qrefine.config import RefineConfig
from qrefine.corpus.encode import encode_refined
from qrefine.sample import Sample
from qrefine.storage.store import Store
from qrefine.table.parts import Part, PartRecord
from qrefine.table.schema import make_row, table_schema

ROWS_AT_ONCE = 8  # rows with images take much memory in Python
GATHERED = 0.05  # of a writer's age: how long it gathers a part
PART_BYTES = 512 << 20  # of a part, before its columns are compressed


@dataclass(frozen=True)
class Target:
    """Destination of rows, with the run and configuration."""

    config: RefineConfig
    store: Store
    run: str


def all_failed(samples: Iterable[Sample], reason: str) -> list[Sample]:
    """The samples, failed for the reason unless they failed before: the first error is the cause."""
    return [sample if sample.error else sample.failed(reason) for sample in samples]


def encoded(sample: Sample, config: RefineConfig) -> Sample:
    """The sample with its refined pixels as bytes in the source's form; an encoder's error becomes the sample's.

    It is kept where all that changed is fully transparent.
    """
    if sample.refined is None or sample.error is not None:
        return sample
    changes = {
        "software": f"qrefine {__version__}",
        "stages": ", ".join(sample.stages),
        "config": config.digest,
    }
    try:
        made = encode_refined(sample.refined, sample.source or b"", config.images, changes)
    except (OSError, ValueError) as error:
        return sample.failed(f"encode: {error}")
    if made is None:
        return replace(sample.kept("not_visible"), judgements=())
    return replace(sample, output=made.data, lost=tuple(dict.fromkeys((*sample.lost, *made.lost))))


def write(samples: Sequence[Sample], target: Target) -> list[PartRecord]:
    """Write one part for each shard among the samples. Raises UserError if the store stays unavailable."""
    writer = Writer(target)
    return [*writer.add(samples), *writer.close()]


class Writer:
    """Gathers samples into parts, of one shard each. Not for use by several threads at once.

    A part is closed where its shard ends or another begins, and after a batch where it has ``stream.part_rows``
    or PART_BYTES, or is older than a share of this writer's age (at least ``commit_seconds``, at most
    ``part_seconds``).
    """

    def __init__(self, target: Target, began: float | None = None) -> None:
        """``began``: when the age begins, by the monotonic clock; None: now."""
        self._target = target
        self._began = time.monotonic() if began is None else began
        self._part: Part | None = None
        self._shard = ""
        self._opened = 0.0

    def add(self, samples: Sequence[Sample]) -> list[PartRecord]:
        """Encode and append samples; the records of the parts that this closed. Raises UserError like `write`."""
        return self.append(to_rows(samples, self._target))

    def append(self, rows: Iterable[ShardRows]) -> list[PartRecord]:
        """The same with samples that are rows already."""
        records = []
        for some in rows:
            if some.shard != self._shard:
                records += self.close()
            if self._part is None:
                self._part, self._shard = Part(self._target.store, self._target.run), some.shard
                self._opened = time.monotonic()
            for table in some.tables:
                self._part.add(table)
            self._part.count(some.extra_images, some.source_bytes, some.notes)
            if some.last:
                records += self.close()
        return [*records, *self.close()] if self._full() else records

    def close(self) -> list[PartRecord]:
        """Close the open part, if there is one."""
        part, self._part, self._shard = self._part, None, ""
        return [part.close()] if part else []

    def _full(self) -> bool:
        part, stream, now = self._part, self._target.config.stream, time.monotonic()
        if part is None:
            return False
        patience = max(stream.commit_seconds, min(stream.part_seconds, GATHERED * (now - self._began)))
        return part.rows >= stream.part_rows or part.bytes >= PART_BYTES or now - self._opened >= patience


@dataclass(frozen=True)
class ShardRows:
    """Rows of one shard, with refined images encoded."""

    shard: str
    tables: tuple[pa.Table, ...]
    extra_images: int
    source_bytes: int
    notes: dict[str, int]  # what went wrong and failed no row
    last: bool  # whether the shard's last row is among them


def to_rows(samples: Sequence[Sample], target: Target) -> list[ShardRows]:
    """The samples' rows by shard, in order of their index."""
    ordered = sorted(samples, key=lambda sample: (sample.shard, sample.index))
    return [_shard_rows(shard, list(its), target) for shard, its in groupby(ordered, key=lambda one: one.shard)]


def _shard_rows(shard: str, samples: Sequence[Sample], target: Target) -> ShardRows:
    return ShardRows(
        shard,
        tuple(_tables(samples, target)),
        extra_images=sum(max(0, sample.image_count - 1) for sample in samples),
        source_bytes=sum(len(sample.source or b"") for sample in samples),
        notes=Counter(note for sample in samples for note in sample.notes),
        last=any(sample.shard_rows is not None for sample in samples),
    )


def _tables(samples: Iterable[Sample], target: Target) -> Iterator[pa.Table]:
    """The samples' rows, a few at a time."""
    config, schema = target.config, table_schema(target.config.judges)
    rows = (make_row(encoded(sample, config), config, target.run) for sample in samples)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield pa.Table.from_pylist(some, schema=schema)
