"""Gzip of any number of members as one stream: what ``pigz``, ``bgzip`` and ``cat a.tar.gz b.tar.gz`` write.

``tarfile`` stops at the end of the first member when it streams, and would lose the rest in silence.
"""

from __future__ import annotations

import gzip
from typing import Protocol

MAGIC = b"\x1f\x8b"


class Readable(Protocol):
    """What a stream must be able to do here."""

    def read(self, size: int = -1, /) -> bytes: ...


class _Again:
    """``source`` with ``head``, which was read from it already, before the rest."""

    def __init__(self, head: bytes, source: Readable) -> None:
        self._head, self._source = head, source

    def read(self, size: int = -1) -> bytes:
        if not self._head:
            return self._source.read(size)
        if size < 0:
            head, self._head = self._head, b""
            return head + self._source.read()
        head, self._head = self._head[:size], self._head[size:]
        return head


class _Gunzipped:
    """Hands out what is decompressed at once: what comes before damage is not lost with it."""

    def __init__(self, source: _Again) -> None:
        self._file = gzip.GzipFile(fileobj=source, mode="rb")  # type: ignore[call-overload]  # it only reads

    def read(self, size: int = -1) -> bytes:
        return self._file.read1(size)


def gunzipped(source: Readable) -> Readable:
    """``source`` decompressed if its first bytes are gzip's, whatever its name; else as it is.

    Reading raises OSError, EOFError or zlib.error where the stream is damaged or cut off.
    """
    head = source.read(len(MAGIC))
    while 0 < len(head) < len(MAGIC) and (more := source.read(len(MAGIC) - len(head))):
        head += more
    again = _Again(head, source)
    return _Gunzipped(again) if head == MAGIC else again
