"""Whether the members of each sample lie together in an archive, so that one pass reads it.

A local archive is judged by all of its headers, which are read without the data between them. Of others, and of
compressed ones, the beginning and the end are looked at: where texts lie apart from images, there are runs of
members without an image, or of an image alone.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from qrefine.corpus.compression import Readable, Rejoined
from qrefine.corpus.grouping import Reading, image_head, same_key
from qrefine.corpus.names import image_rank, side_kind, split_name
from qrefine.corpus.tar import (
    BLOCK,
    EXTENDED,
    EXTENDED_BYTES,
    LINKS,
    LONG_NAME,
    NO_DATA,
    PAX,
    Damage,
    Member,
    TruncatedError,
    is_header,
    read_tar,
)

LOOK_BYTES = 4 << 20  # of the beginning
MOST_LOOKED = 64 << 20  # until two samples were seen whole
TAIL_BYTES = 256 << 10

_PAX_PATH = re.compile(rb" path=([^\n]+)\n")


class Run(NamedTuple):
    """Consecutive members with one key."""

    key: str
    suffixes: frozenset[str]
    rank: int | None  # of its best image
    linked: bool = False


def runs(entries: Iterable[Member | Damage], reading: Reading) -> Iterator[Run]:
    """The runs of an archive, or of a piece of one, in order."""
    key: str | None = None
    suffixes: set[str] = set()
    ranks: set[int] = set()
    linked = False
    for entry in entries:
        named = None if isinstance(entry, Damage) else split_name(entry.name, reading.input.keys)
        if named is None or isinstance(entry, Damage):
            continue
        suffix = named[1].lower()
        link = entry.kind in LINKS
        if not link and not entry.is_file:
            continue
        is_image = not link and side_kind(suffix) is None and _is_image(entry, suffix)
        if not (suffix or is_image or link):
            continue
        if key is None or not same_key(key, named[0]) or suffix in suffixes:
            if key is not None:
                yield Run(key, frozenset(suffixes), min(ranks, default=None), linked)
            key, suffixes, ranks, linked = named[0], set(), set(), False
        suffixes.add(suffix)
        linked |= link
        if is_image:
            ranks.add(image_rank(suffix, reading.images.suffix))
    if key is not None:
        yield Run(key, frozenset(suffixes), min(ranks, default=None), linked)


def _is_image(member: Member, suffix: str) -> bool:
    try:
        return image_head(member, suffix) is not None
    except TruncatedError:
        return False


def lie_together(found: Iterable[Run]) -> bool:
    """Whether no key comes again later, and no member is a link. A sample that was repeated comes again too."""
    seen: set[str] = set()
    last: str | None = None
    for run in found:
        key = run.key.removeprefix("./")
        if run.linked or (key in seen and key != last):
            return False
        seen.add(key)
        last = key
    return True


def read_names(file: int) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and names of the members of an archive, by its file descriptor: headers alone, and fast.

    Raises ValueError at whatever is not plain.
    """
    place, long = 0, None
    while len(block := os.pread(file, BLOCK, place)) == BLOCK:
        if not block[0]:  # an end, which other archives may follow
            place += BLOCK
            continue
        kind, length = block[156:157], int(block[124:136].rstrip(b" \0"), 8)
        if kind in EXTENDED:
            data = os.pread(file, min(length, EXTENDED_BYTES), place + BLOCK)
            if kind == LONG_NAME:
                long = data.partition(b"\0")[0]
            elif kind != PAX or b"size=" in data or b"sparse" in data:
                raise ValueError
            elif path := _PAX_PATH.search(data):
                long = path[1]
        else:
            name, prefix = block[:100], block[345:500] if block[257:263] == b"ustar\0" and block[345] else b""
            name = name.partition(b"\0")[0]
            yield kind, long or (prefix.partition(b"\0")[0] + b"/" + name if prefix else name)
            long = None
            length = 0 if kind in NO_DATA else length
        place += BLOCK + length + -length % BLOCK


def plainly_together(names: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether `lie_together` is sure to hold, by kinds and names: no first part of a name comes again later.

    A key by any rule begins with the name's first part, up to the first dot.
    """
    seen: set[bytes] = set()
    last = b""
    try:
        for kind, name in names:
            if kind in b"12":  # links
                return False
            first = name[: name.find(b".", name.rfind(b"/") + 1)]
            if first != last and kind != b"5":
                if first in seen or name.startswith(b"./"):
                    return False
                seen.add(first)
                last = first
    except (ValueError, IndexError):
        return False
    return True


def seem_together(head: Sequence[Run], tail: Sequence[Run] | None) -> bool:
    """The same, judged by whole runs of the beginning and the end; the end is None where it cannot be read."""
    both = [*head, *(tail or ())]
    ranks = {run.rank for run in both}
    if not head or len(ranks) > 1 or None in ranks or not lie_together(both):
        return False
    lone = all(len(run.suffixes) == 1 for run in head)
    return not lone or (tail is not None and all(len(run.suffixes) == 1 for run in tail))


def look(stream: Readable, reading: Reading) -> tuple[Readable, list[Run], bool]:
    """The stream as it was, the whole runs of its beginning, and whether that is all there is."""
    head, ended = b"", False
    while not ended and len(head) < MOST_LOOKED:
        pieces, missing = [head], max(len(head), LOOK_BYTES)
        try:
            while missing and (piece := stream.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
            ended = missing > 0
        except Exception as error:  # whoever reads on is told
            stream, ended = _Failing(error), True
        head = b"".join(pieces)
        found = list(runs(read_tar(io.BytesIO(head), len(head)), reading))
        if len(found) > 2:
            break
    return Rejoined(head, stream), found if ended else found[:-1], ended


class _Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self, size: int = -1) -> bytes:
        raise self._error


def tail_runs(tail: bytes, reading: Reading) -> list[Run]:
    """Whole runs in the last bytes of an archive, which begin at a block's border."""
    starts = range(0, len(tail), BLOCK)
    start = next((start for start in starts if is_header(tail[start : start + BLOCK])), len(tail))
    return list(runs(read_tar(io.BytesIO(tail[start:]), len(tail) - start), reading))[1:]
