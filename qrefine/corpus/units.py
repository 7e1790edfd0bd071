"""What a corpus is read by: a unit is a tar shard, a Parquet file, a slice of a folder, or a part of a table.

A folder and a table are *containers*: their units may be cut anew when something is added. A container's unit has
the container's URL and a mark in its own: ``photos/#files-01``, ``refined/#part-qrefine-….parquet``.

A slice of a folder holds the samples whose hashed key begins with its bits. Slices are the leaves of a tree: one
of more than SLICE samples becomes two, each with a bit more. So what is added or removed changes one slice, or
cuts one in two, and the cut depends on nothing but the names that are there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

SLICE = 1000  # most samples in a slice
MOST_BITS = 64
_INNER = re.compile(r"(?P<container>.*)/#(?:(?P<files>files)(?:-(?P<bits>[01]+))?|part-(?P<part>.*))", re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file of a folder's slice; ``text`` is what the folder's metadata says of it, as JSON."""

    name: str  # below the container
    key: str  # of its sample
    size: int | None = None
    version: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Shard:
    """A unit in the listing; ``size`` (bytes) and ``version`` are None where the store does not give them."""

    url: str
    size: int | None
    version: str | None = None  # changes with the content: the size, and the store's etag or modification time
    files: tuple[File, ...] = ()  # of a folder's slice, those of one sample together


class Inner(NamedTuple):
    """The place of a unit in its container; ``bits`` of a folder's slice, ``part`` of a table's part."""

    container: str
    bits: str | None
    part: str | None


def inner(url: str) -> Inner | None:
    """The place that a unit's URL tells; None where the unit is a file of its own."""
    match = _INNER.fullmatch(url)
    if match is None:
        return None
    return Inner(match["container"], (match["bits"] or "") if match["files"] else None, match["part"])


def slice_url(container: str, bits: str) -> str:
    return f"{container}/#files-{bits}" if bits else f"{container}/#files"


def part_url(container: str, path: str) -> str:
    return f"{container}/#part-{path}"


def slices(container: str, files: Iterable[File]) -> Iterator[Shard]:
    """The slices of a folder's files, each sorted by key and name."""
    by_key = sorted(files, key=lambda file: (file.key, file.name))
    samples = [(_bits(key), list(its)) for key, its in groupby(by_key, key=lambda file: file.key)]
    waiting = [("", samples)]
    while waiting:
        bits, its = waiting.pop()
        if len(its) > SLICE and len(bits) < MOST_BITS:
            halves = {bit: [one for one in its if one[0][len(bits)] == bit] for bit in "10"}
            waiting += [(bits + bit, half) for bit, half in halves.items()]
        elif its:
            members = tuple(file for _, files in its for file in files)
            yield Shard(
                slice_url(container, bits), sum(file.size or 0 for file in members), _digest(members), members
            )


def _bits(key: str) -> str:
    number = int.from_bytes(
        hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[: MOST_BITS // 8], "big"
    )
    return f"{number:0{MOST_BITS}b}"


def _digest(files: Sequence[File]) -> str:
    """The version of a slice: of the names, sizes, versions and metadata of its files."""
    digest = hashlib.sha256()
    for file in files:
        told = f"{file.name}\0{file.size}\0{file.version}\0{file.text}\0"
        digest.update(told.encode("utf-8", "surrogateescape"))
    return f"{len(files)}-{digest.hexdigest()[:16]}"


def _overlap(a: Inner, b: Inner) -> bool:
    """Whether two units of one container may share samples; parts of a table are rewritten in any way."""
    if a.bits is None or b.bits is None:
        return a.bits is b.bits
    return a.bits.startswith(b.bits) or b.bits.startswith(a.bits)


def recut(listed: Collection[str], recorded: Collection[str]) -> tuple[set[str], set[str]]:
    """Units whose container was cut anew: the recorded ones that are gone, and the new ones with their samples."""
    new: dict[str, list[tuple[str, Inner]]] = {}
    for url in {*listed}.difference(recorded):
        if place := inner(url):
            new.setdefault(place.container, []).append((url, place))
    gone, successors = set[str](), set[str]()
    for url in {*recorded}.difference(listed) if new else ():
        if place := inner(url):
            its = {one for one, other in new.get(place.container, ()) if _overlap(place, other)}
            successors |= its
            gone |= {url} if its else set()
    return gone, successors
