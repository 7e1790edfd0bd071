"""WebDataset shards to samples: every sample is yielded once, damage is reported and not fatal.

``tar`` reads the archive's members, ``grouping`` makes samples of them, and this module numbers the samples. Where
`layout` finds that members of a sample lie apart, `joining` does, in more than one pass.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from qrefine.config import ImageSettings, InputSettings
from qrefine.corpus.compression import Decompressed, decompressed
from qrefine.corpus.grouping import Group, Reading, broken_by, grouped, printable
from qrefine.corpus.joining import Index, joined
from qrefine.corpus.layout import (
    TAIL_BYTES,
    Run,
    lie_together,
    look,
    plainly_together,
    read_names,
    runs,
    seem_together,
    tail_runs,
)
from qrefine.corpus.tar import BLOCK, Damage, Member, read_tar
from qrefine.sample import Sample
from qrefine.storage.retry import retrying
from qrefine.storage.store import Store

MOST_REASONS = 8  # for damage to one shard: the first few are enough


def read_shard(
    url: str,
    images: ImageSettings,
    storage_options: dict[str, Any] | None = None,
    *,
    input: InputSettings | None = None,
    retries: int = 5,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Sample]:
    """The samples of a shard in order; memory holds two of them at a time, whatever the shard's size.

    The last one carries ``shard_rows``. A damaged or truncated shard ends with a sample without a key whose
    error says where the damage is; an unreadable or empty one yields only that sample. Samples whose index is not
    ``wanted`` are counted but not yielded. An index depends on the shard and the settings alone.
    """
    reading = Reading(images, input or InputSettings())
    samples = _numbered(url, _groups(Store.at(url, storage_options or {}), reading, retries, wanted), reading)
    last = next(samples)  # never missing: an empty shard has one failed sample
    for sample in samples:
        if wanted(last.index):
            yield last
        last = sample
    if wanted(last.index):
        yield replace(last, shard_rows=last.index + 1)


def _groups(store: Store, reading: Reading, retries: int, wanted: Callable[[int], bool]) -> Iterator[Group | str]:
    """The shard's samples in order, and what is wrong with it."""
    try:
        with store.reader(retries) as source:
            stream = decompressed(source)
            packed = isinstance(stream, Decompressed)
            if store.is_local and not packed:
                together = retrying(lambda: _lie_together(store, reading), store.base, retries)
            else:
                stream, found, whole = look(stream, reading)
                tail = None if packed or whole else _tail(store, retries, reading)
                together = lie_together(found) if whole else seem_together(found, tail)
            if together:
                yield from grouped(read_tar(stream, packed=packed), reading)
                return
        with _entries(store, retries) as entries:
            index = Index(entries, reading)
        with _entries(store, retries) as entries:
            yield from joined(index, entries, wanted)
    except Exception as error:  # as in grouping
        yield broken_by(error)


def _lie_together(store: Store, reading: Reading) -> bool:
    with store.open() as file:
        if plainly_together(read_names(file.fileno())):
            return True
        return lie_together(runs(read_tar(file, os.fstat(file.fileno()).st_size), reading))


@contextlib.contextmanager
def _entries(store: Store, retries: int) -> Iterator[Iterator[Member | Damage]]:
    """The shard's members from the first on; data that is not read is passed over where the file can seek."""
    with store.reader(retries) as source:
        stream = decompressed(source)
        packed = isinstance(stream, Decompressed)
        if packed or not store.is_local:
            yield read_tar(stream, packed=packed)
            return
    with store.open() as file:
        yield read_tar(file, os.fstat(file.fileno()).st_size)


def _tail(store: Store, retries: int, reading: Reading) -> list[Run] | None:
    """The whole runs at the end of an archive; None where the store gives no part of a file."""
    try:
        info = store.info()
        size = (info or {}).get("size") or 0
        start = max(0, size - TAIL_BYTES) // BLOCK * BLOCK
        data = retrying(lambda: store.filesystem.cat_file(store.base, start=start, end=size), store.base, retries)
    except Exception:  # a server without ranges, or without a size
        return None
    return tail_runs(bytes(data), reading) if len(data) == size - start > 0 else None


def _numbered(url: str, groups: Iterator[Group | str], reading: Reading) -> Iterator[Sample]:
    count = 0
    reasons: list[str] = []
    for group in groups:
        if isinstance(group, str):
            reasons.append(group)
            del reasons[MOST_REASONS:]
        else:
            yield group.sample(url, count, reading)
            count += 1
    if reasons:
        state = "damaged" if count else "unreadable"
        error = f"shard {state}: {'; '.join(reasons)} ({count} samples were read)"
        yield Sample(shard=url, index=count, error=printable(error))
    elif not count:
        yield Sample(shard=url, index=0, error="shard is empty: it holds no samples")
