"""The members of a shard's samples, read from the shard again: one pass over an archive, in its own order.

Members that come before their sample's turn, as where all images lie before all texts, wait in a file without a
name. So memory holds the shard's names and one sample, wherever its members lie. A member that is a link has no
data of its own, and is not there.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import groupby
from typing import Protocol

from qrefine.config import RefineConfig
from qrefine.corpus.compression import decompressed
from qrefine.corpus.grouping import printable
from qrefine.corpus.tar import Damage, Member, TruncatedError, read_tar
from qrefine.corpus.units import Shard, inner
from qrefine.storage.store import Store

HELD_BYTES = 32 << 20  # of members that wait; more go to disk

Names = Mapping[int, Sequence[str]]
"""For each sample's index the names of its members, in their order."""


class Members(Protocol):
    """Gives the members of samples, which are asked for by ascending index."""

    def of(self, index: int) -> list[tuple[str, bytes]]:
        """A sample's members by name, in its order, as far as they are there."""


def opened(
    unit: Shard, names: Names, wanted: Iterable[int], config: RefineConfig
) -> AbstractContextManager[Members]:
    """The members of a folder's slice, or of an archive, in which samples have these names."""
    place = inner(unit.url)
    if place is not None:
        return _Folder(Store.at(place.container, config.storage_options), unit)
    return _Archive(Store.at(unit.url, config.storage_options), config.stream.read_retries, names, set(wanted))


class _Archive:
    def __init__(self, store: Store, retries: int, names: Names, wanted: set[int]) -> None:
        self._store, self._retries, self._names, self._wanted = store, retries, names, wanted
        self._owners: dict[str, deque[int]] = {}  # a name that is there twice is of two samples, in their order
        for index in sorted(names):
            for name in names[index]:
                self._owners.setdefault(_plain(name), deque()).append(index)
        self._early: dict[tuple[int, str], tuple[str, int, int]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> _Archive:
        self._spool = self._stack.enter_context(tempfile.SpooledTemporaryFile(HELD_BYTES))
        source = self._stack.enter_context(self._store.reader(self._retries))
        self._entries = self._found(read_tar(decompressed(source)))
        return self

    def __exit__(self, *error: object) -> None:
        self._entries.close()  # type: ignore[attr-defined]
        self._stack.close()

    def of(self, index: int) -> list[tuple[str, bytes]]:
        order = [_plain(name) for name in self._names[index]]
        found: dict[str, tuple[str, bytes]] = {}
        for name in order:
            if (index, name) in self._early:
                found[name] = self._taken(index, name)
        while len(found) < len(order) and (entry := next(self._entries, None)) is not None:
            owner, member, data = entry
            if owner == index:
                found[_plain(member)] = (member, data)
            elif owner > index:
                self._keep(owner, member, data)
        return [found[name] for name in order if name in found]

    def _found(self, entries: Iterable[Member | Damage]) -> Iterator[tuple[int, str, bytes]]:
        """The members of wanted samples, each with the sample's index."""
        for entry in entries:
            if isinstance(entry, Damage):
                continue
            name = printable(entry.name)
            owners = self._owners.get(_plain(name))
            if not owners:
                continue
            owner = owners.popleft()
            if owner in self._wanted and entry.is_file and not entry.sparse:
                try:
                    yield owner, name, entry.body.read()
                except TruncatedError:
                    return

    def _keep(self, index: int, name: str, data: bytes) -> None:
        place = self._spool.seek(0, 2)
        self._spool.write(data)
        self._early[index, _plain(name)] = (name, place, len(data))

    def _taken(self, index: int, name: str) -> tuple[str, bytes]:
        member, place, size = self._early.pop((index, name))
        self._spool.seek(place)
        return member, self._spool.read(size)


class _Folder:
    def __init__(self, store: Store, unit: Shard) -> None:
        self._store = store
        self._samples = [[file.name for file in its] for _, its in groupby(unit.files, key=lambda file: file.key)]

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def of(self, index: int) -> list[tuple[str, bytes]]:
        found = []
        for name in self._samples[index]:
            try:
                found.append((printable(name), self._store.read(name)))
            except FileNotFoundError:
                continue
        return found


def _plain(name: str) -> str:
    return name.removeprefix("./")
