"""Compressed streams, recognised by their first bytes: gzip, bzip2, xz and Zstandard, of one or more members.

Several members in a row are what ``pigz``, ``bgzip`` and ``cat a.tar.gz b.tar.gz`` write.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from typing import Any, Protocol

FORMATS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda source: gzip.GzipFile(fileobj=source, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x5d\0\0\x80": lzma.LZMAFile,  # the older .lzma
    b"\x28\xb5\x2f\xfd": lambda source: _Zstandard(source),
    **{
        bytes([0x50 + n, 0x2A, 0x4D, 0x18]): lambda source: _Zstandard(source) for n in range(16)
    },  # skippable frames
}
# what is sometimes named .tar
OTHERS = {
    b"PK\3\4": "a zip archive",
    b"PK\5\6": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\7": "a RAR archive",
    b"PAR1": "a Parquet file",
}
MAGIC_BYTES = max(map(len, (*FORMATS, *OTHERS)))


class Readable(Protocol):
    """A source stream. A read may return less than was asked for; an empty result is the end."""

    def read(self, size: int = -1, /) -> bytes: ...


class NoTarError(ValueError):
    """The file is of another kind; the message says of which."""


class Rejoined:
    """All of ``source``: first ``head``, which was already read from it, then the rest."""

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


class _Zstandard:
    """Reads in small pieces: of a read in which the stream turns out to be damaged nothing is given."""

    def __init__(self, source: Readable) -> None:
        import pyarrow as pa  # on first use: it takes a while to load

        self.closed = False
        self._source = source
        self._stream = pa.CompressedInputStream(pa.PythonFile(self, mode="r"), "zstd")

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size)

    def read1(self, size: int) -> bytes:
        return bytes(self._stream.read(min(size, 8192) if size >= 0 else 8192))


class Decompressed:
    """Returns data as soon as it is decompressed, so that data before a damaged place is not lost."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return bytes(self._file.read1(size))


def decompressed(source: Readable) -> Readable:
    """``source``, decompressed if its first bytes match one of FORMATS, whatever its name; else unchanged.

    Raises NoTarError where they match another kind of file. Reading raises OSError, EOFError, zlib.error or
    lzma.LZMAError where the stream is damaged or cut off.
    """
    head = b""
    while len(head) < MAGIC_BYTES and (more := source.read(MAGIC_BYTES - len(head))):
        head += more
    if other := next((kind for magic, kind in OTHERS.items() if head.startswith(magic)), None):
        raise NoTarError(f"{other}, not a tar")
    whole = Rejoined(head, source)
    reader = next((reader for magic, reader in FORMATS.items() if head.startswith(magic)), None)
    return whole if reader is None else Decompressed(reader(whole))
