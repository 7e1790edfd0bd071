"""WebDataset shards to samples: every sample is yielded once, damage is reported and not fatal.

``tar`` reads the archive's members, ``grouping`` makes samples of them, and this module numbers the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from qrefine.config import ImageSettings
from qrefine.corpus.compression import Decompressed, decompressed
from qrefine.corpus.grouping import grouped, printable
from qrefine.corpus.tar import Damage, Member, read_tar
from qrefine.sample import Sample
from qrefine.storage.store import Store

MOST_REASONS = 8  # for damage to one shard: the first few are enough


def read_shard(
    url: str,
    images: ImageSettings,
    storage_options: dict[str, Any] | None = None,
    *,
    retries: int = 5,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Sample]:
    """The samples of a shard in order; memory holds two of them at a time, whatever the shard's size.

    The last one carries ``shard_rows``. A damaged or truncated shard ends with a sample without a key whose
    error says where the damage is; an unreadable or empty one yields only that sample. Samples whose index is not
    ``wanted`` are counted but not yielded.
    """
    samples = _samples(url, images, _members(url, storage_options or {}, retries))
    last = next(samples)  # never missing: an empty shard has one failed sample
    for sample in samples:
        if wanted(last.index):
            yield last
        last = sample
    if wanted(last.index):
        yield replace(last, shard_rows=last.index + 1)


def _members(url: str, options: dict[str, Any], retries: int) -> Iterator[Member | Damage]:
    with Store.at(url, options).reader(retries) as source:
        stream = decompressed(source)
        for entry in read_tar(stream):
            if isinstance(stream, Decompressed) and isinstance(entry, Member):
                entry = replace(entry, data_offset=None)
            yield entry


def _samples(url: str, images: ImageSettings, members: Iterator[Member | Damage]) -> Iterator[Sample]:
    count = 0
    reasons: list[str] = []
    for group in grouped(members, images):
        if isinstance(group, str):
            reasons.append(group)
            del reasons[MOST_REASONS:]
        else:
            yield group.sample(url, count)
            count += 1
    if reasons:
        state = "damaged" if count else "unreadable"
        error = f"shard {state}: {'; '.join(reasons)} ({count} samples were read)"
        yield Sample(shard=url, index=count, error=printable(error))
    elif not count:
        yield Sample(shard=url, index=0, error="shard is empty: it holds no samples")
