"""Output: refined pixels are encoded, samples become rows, and rows become parts."""

from __future__ import annotations

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
from qrefine.table.parts import PartRecord, write_part
from qrefine.table.schema import make_row, table_schema

ROWS_AT_ONCE = 8  # rows with images take much memory in Python


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
    ordered = sorted(samples, key=lambda sample: (sample.shard, sample.index))
    return [_part(list(group), target) for _, group in groupby(ordered, key=lambda sample: sample.shard)]


def _part(samples: Sequence[Sample], target: Target) -> PartRecord:
    return write_part(
        target.store,
        _tables(samples, target),
        target.run,
        extra_images=sum(max(0, sample.image_count - 1) for sample in samples),
        source_bytes=sum(len(sample.source or b"") for sample in samples),
        notes=Counter(note for sample in samples for note in sample.notes),
    )


def _tables(samples: Iterable[Sample], target: Target) -> Iterator[pa.Table]:
    """The samples' rows, a few at a time."""
    config, schema = target.config, table_schema(target.config.judges)
    rows = (make_row(encoded(sample, config), config, target.run) for sample in samples)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield pa.Table.from_pylist(some, schema=schema)
