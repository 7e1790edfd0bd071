"""Members of a tar archive, read forward from its 512-byte headers: v7, ustar, GNU and pax.

Damage is reported among the members, with its byte offset, and reading continues at the next header block.
Nothing is extracted. Memory holds one read of the source, and what the caller reads of a member.

Layouts: POSIX.1-2024 (``pax``, "ustar Interchange Format") and the GNU tar manual ("Basic Tar Format").
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from qrefine.corpus.compression import Readable

BLOCK = 512
READ_BYTES = 1 << 20
EXTENDED_BYTES = 1 << 20  # a larger pax header or long name is damage

# type flags
FILES = b"0\x007"  # regular, the same in v7, contiguous
SPARSE = b"S"
HARD_LINK = b"1"
LINKS = (HARD_LINK, b"2")  # hard and symbolic ones
NO_DATA = b"123456"  # links, devices, folders, pipes: nothing follows, whatever their size field says
LONG_NAME, LONG_LINK = b"L", b"K"
PAX, PAX_SOLARIS, PAX_GLOBAL = b"x", b"X", b"g"
EXTENDED = LONG_NAME + LONG_LINK + PAX + PAX_SOLARIS + PAX_GLOBAL

_ZEROS = bytes(BLOCK)
_ASCII = bytes(range(128))
_PAX_RECORD = re.compile(rb"([0-9]{1,10}) ([^=]+)=")


@dataclass(frozen=True)
class Damage:
    """A fault in the archive, and its byte offset in the stream."""

    reason: str
    offset: int

    def __str__(self) -> str:
        return f"{self.reason} at byte {self.offset}"


class Member(NamedTuple):
    """One member of an archive."""

    name: str  # bytes that are not UTF-8 are surrogate escapes
    kind: bytes  # the type flag
    size: int  # bytes of its data; of a sparse file, holes included
    offset: int  # of its first header, extended ones included
    data_offset: int | None  # None where the archive is compressed: no range of the file holds the data
    linkname: str
    sparse: bool  # its data is a map of the holes, and the bytes between them
    body: Body

    @property
    def is_file(self) -> bool:
        return self.kind in FILES or self.sparse


class TruncatedError(Exception):
    """The stream ended inside a member."""


class Body:
    """A member's data as stored; it must be read before the next member is asked for."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self._stream, self._left, self._padding = stream, size, -size % BLOCK

    def read(self, size: int = -1) -> bytes:
        """The next ``size`` bytes, or all that are left; raises TruncatedError where the stream ends before."""
        size = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(size)
        self._left -= len(data)
        if len(data) < size:
            raise TruncatedError("unexpected end of data")
        return data

    def skip(self) -> None:
        """Go to the end of the member's last block."""
        size, self._left, self._padding = self._left + self._padding, 0, 0
        if self._stream.skip(size) < size:
            raise TruncatedError("unexpected end of data")


class _HeaderError(ValueError):
    """The block is not a header."""


class _Stream:
    """``source`` in pieces of exactly the sizes asked for, except at its end."""

    def __init__(self, source: Readable, size: int | None) -> None:
        self._source, self._size = source, size
        self._piece = READ_BYTES if size is None else BLOCK
        self._buffer, self._start = b"", 0
        self.position = 0

    def skip(self, size: int) -> int:
        """Pass over ``size`` bytes, or as many as there are; returns their number."""
        if self._start + size <= len(self._buffer):
            self._start += size
            self.position += size
            return size
        if self._size is None:
            done = 0
            while done < size and (passed := len(self.read(min(size - done, READ_BYTES)))):
                done += passed
            return done
        size = min(size, self._size - self.position)
        self.position += size
        self._buffer, self._start = b"", 0
        self._source.seek(self.position)  # type: ignore[attr-defined]
        return size

    def read(self, size: int) -> bytes:
        data = self._buffer[self._start : self._start + size]
        self._start += size
        if len(data) == size:
            self.position += size
            return data
        self._start = len(self._buffer)
        if len(data) < size:
            pieces, missing = [data], size - len(data)
            while missing and (piece := self._source.read(max(missing, self._piece))):
                self._buffer, self._start = piece, min(missing, len(piece))
                pieces.append(piece if len(piece) <= missing else piece[:missing])
                missing -= self._start
            data = b"".join(pieces)
        self.position += len(data)
        return data


def read_tar(source: Readable, size: int | None = None, packed: bool = False) -> Iterator[Member | Damage]:
    """Yields members in order, and damage where it is found.

    With the ``size`` of a source that can seek, data that the caller does not read is passed over. ``packed``: the
    source is decompressed from another one, in which the data has no offset.

    A run of blocks that are not headers is one Damage. Blocks of zeros mark the end; members after them, as in
    concatenated archives, are read all the same. Errors of the source are raised.
    """
    stream = _Stream(source, size)
    everywhere: dict[str, bytes] = {}  # from global pax headers
    extended: dict[str, bytes] = {}  # from extended headers, for the next member
    first: int | None = None  # offset of the first extended header
    ended = lost = False  # an end marker was seen; within a run of blocks that are not headers
    while block := stream.read(BLOCK):
        offset = stream.position - len(block)
        try:
            if block == _ZEROS:
                ended = True
                if first is not None:
                    raise _HeaderError("extended header without a member")
                continue
            _check(block)
            kind = block[156:157]
            if kind in EXTENDED:
                found = _extended(kind, _number(block[124:136]), stream)
                if kind == PAX_GLOBAL:
                    everywhere |= found
                else:
                    extended = found | extended
                    first = offset if first is None else first
                continue
            fields = everywhere | extended if everywhere else extended
            member = _member(block, stream, fields, offset if first is None else first, packed)
        except ValueError as error:
            if not lost:
                yield Damage(str(error) if isinstance(error, _HeaderError) else "invalid header", offset)
            extended, first, lost = {}, None, True
            continue
        extended, first = {}, None
        lost = ended = False  # zero blocks before a member are not the end
        yield member
        try:
            member.body.skip()
        except TruncatedError as error:
            yield Damage(f"{error} inside {member.name}", member.offset)
            return
    if first is not None:
        yield Damage("truncated header", first)
    elif not stream.position:
        yield Damage("empty file", 0)
    elif not ended and not lost:
        yield Damage("the end-of-archive marker is missing: cut off", stream.position)


def is_header(block: bytes) -> bool:
    """Whether a block is a member's header, of any kind of tar but v7."""
    if block[257:262] != b"ustar":
        return False
    try:
        _check(block)
    except ValueError:
        return False
    return True


def _check(block: bytes) -> None:
    if len(block) < BLOCK:
        raise _HeaderError("truncated header")
    field = block[148:156]  # counts as eight spaces
    # Adler-32's lower half is the sum of the bytes and one, modulo 65521, and many times as fast as sum()
    wrong = ((zlib.adler32(block) & 0xFFFF) - 1 - sum(field) + 8 * 32 - _number(field)) % 65521
    # old Sun versions of tar summed signed bytes
    if wrong and (wrong - 256 * len((block[:148] + block[156:]).translate(None, _ASCII))) % 65521:
        raise _HeaderError("bad checksum")


def _number(digits: bytes) -> int:
    """A number field: octal digits, or GNU's base 256 where the first bit is set."""
    if digits[0] == 0x80:
        return int.from_bytes(digits[1:], "big")
    number = int(digits.partition(b"\0")[0].strip() or b"0", 8)
    if number < 0:
        raise ValueError
    return number


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _extended(kind: bytes, size: int, stream: _Stream) -> dict[str, bytes]:
    """The fields of an extended header, under their pax names."""
    if size > EXTENDED_BYTES:
        raise _HeaderError(f"extended header of {size} bytes")
    body = Body(stream, size)
    try:
        data = body.read()
        body.skip()
    except TruncatedError:
        raise _HeaderError("truncated header") from None
    if kind in LONG_NAME + LONG_LINK:
        return {"path" if kind == LONG_NAME else "linkpath": data.partition(b"\0")[0]}
    return _pax_records(data)


def _pax_records(data: bytes) -> dict[str, bytes]:
    """The records ``length key=value\\n`` about name or size, by key."""
    records = {}
    start = 0
    while start < len(data) and data[start]:  # some writers count the padding as data
        match = _PAX_RECORD.match(data, start)
        end = start + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise _HeaderError("invalid header")
        key = match[2].decode("utf-8", "replace")
        if key in ("path", "linkpath", "size") or key.startswith("GNU.sparse."):
            records[key] = data[match.end() : end - 1]
        start = end
    return records


def _member(block: bytes, stream: _Stream, fields: dict[str, bytes], offset: int, packed: bool) -> Member:
    """The member of a header; extended ``fields`` override it. The stream is left at the member's data."""
    kind, name = block[156:157], _text(block[:100])
    if kind == b"\0" and name.endswith("/"):
        kind = b"5"  # v7's folders
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    path = fields.get("GNU.sparse.name", fields.get("path")) if fields else None
    if path is not None:
        name = path.decode("utf-8", "surrogateescape").rstrip("/")
    linkname = _text(block[157:257]) if block[157] else ""
    if "linkpath" in fields:
        linkname = fields["linkpath"].decode("utf-8", "surrogateescape")
    stored = size = int(fields["size"]) if "size" in fields else _number(block[124:136])
    sparse = kind == SPARSE or (bool(fields) and any(key.startswith("GNU.sparse.") for key in fields))
    if kind == SPARSE:
        size = _number(block[483:495])
        _skip_sparse_map(block, stream)
    elif sparse:
        size = int(fields.get("GNU.sparse.realsize", fields.get("GNU.sparse.size", b"%d" % stored)))
    if kind in NO_DATA:
        stored = size = 0
    if min(stored, size) < 0:
        raise _HeaderError("invalid header")
    body = Body(stream, stored)
    place = None if packed else stream.position
    return Member(name.rstrip("/") if kind == b"5" else name, kind, size, offset, place, linkname, sparse, body)


def _skip_sparse_map(block: bytes, stream: _Stream) -> None:
    """Skip the blocks in which GNU's old format continues its map of holes."""
    more = block[482]
    while more:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise _HeaderError("truncated header")
        more = block[504]
