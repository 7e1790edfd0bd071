"""PNG files as chunks: what draws the picture, what is said about it, and how to add to that.

Pillow reads descriptive chunks while it looks for the pixels, so a bad or a long one costs it the picture. Here
they are taken apart first. Nothing is unpacked beyond the limits below.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 1_000_000
MAX_TEXT = 16 << 20  # bytes of text in one image, unpacked; more is not read
MAX_PROFILE = 8 << 20  # bytes of a colour profile, unpacked; those of printers reach 4 MB

_DRAWN = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Chunk(NamedTuple):
    """A chunk; the second letter of the name is upper case where the standard knows it, the fourth where it may
    hold for these pixels only."""

    name: bytes
    body: bytes


def split(data: bytes) -> tuple[bytes, list[Chunk]]:
    """A file of the chunks that draw the picture, and all others in order.

    Raises ValueError where a chunk reaches over the end of the file before any pixels; behind them it is left out.
    """
    drawn, said = [SIGNATURE], []
    for name, start, end in _places(data):
        if name in _DRAWN:
            drawn.append(data[start - 8 : end + 4])
        else:
            said.append(Chunk(name, data[start:end]))
    return b"".join(drawn), said


def said(data: bytes) -> list[Chunk]:
    """The chunks that do not draw the picture, in order; raises ValueError as `split` does."""
    return [Chunk(name, data[start:end]) for name, start, end in _places(data) if name not in _DRAWN]


def join(data: bytes, said: Iterable[Chunk]) -> bytes:
    """The PNG with chunks put behind its header, where every kind of them may stand."""
    behind = len(SIGNATURE) + 25
    return b"".join((data[:behind], *(_packed(chunk) for chunk in said), data[behind:]))


def sixteen_bits(pixels: np.ndarray, level: int) -> bytes:
    """(h, w, c) uint16 as a file: grey, grey with alpha, RGB or RGBA. A row is its difference to that above."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels, ">u2").view(np.uint8).reshape(height, -1)
    lines = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    lines[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    header = struct.pack(">IIBBBBB", width, height, 16, (0, 4, 2, 6)[channels - 1], 0, 0, 0)
    bodies = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), level)), (b"IEND", b""))
    return SIGNATURE + b"".join(_packed(Chunk(*body)) for body in bodies)


def read_texts(said: Iterable[Chunk]) -> tuple[dict[str, str], bool]:
    """Texts by keyword, the last of a keyword, as elsewhere; and whether some were over MAX_TEXT or broken."""
    texts: dict[str, str] = {}
    room, left_out = MAX_TEXT, False
    for chunk in said:
        if chunk.name not in _TEXTS:
            continue
        try:
            keyword, text = _TEXTS[chunk.name](chunk.body, room)
        except (ValueError, IndexError, zlib.error):
            left_out = True
            continue
        room -= len(text)
        texts[keyword.decode("latin-1")] = _decoded(text)
    return texts, left_out


def text_chunk(keyword: str, text: str) -> Chunk:
    """The text as UTF-8, not packed."""
    return Chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode())


def read_profile(body: bytes) -> bytes:
    """The profile of an iCCP chunk; empty where it is broken or over MAX_PROFILE."""
    try:
        return _text_zipped(body, MAX_PROFILE)[1]
    except (ValueError, IndexError, zlib.error):
        return b""


def profile_chunk(profile: bytes) -> Chunk:
    return Chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))


def _places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Names of chunks with the borders of their bodies, up to IEND."""
    place, pixels = len(SIGNATURE), False
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, place)
        start, end = place + 8, place + 8 + length
        pixels = pixels or name == b"IDAT"
        if end > len(data) and name != b"IDAT":
            if pixels:
                return
            there = len(data) - start
            raise ValueError(f"PNG chunk {name!r} at byte {place} claims {length} bytes, {there} are there")
        yield name, start, end
        if name == b"IEND":
            return
        place = end + 4
    raise ValueError(f"PNG of more than {MAX_CHUNKS} chunks")


def _packed(chunk: Chunk) -> bytes:
    checksum = zlib.crc32(chunk.body, zlib.crc32(chunk.name))
    return b"".join((struct.pack(">I", len(chunk.body)), chunk.name, chunk.body, struct.pack(">I", checksum)))


def _unzipped(data: bytes, most: int) -> bytes:
    reader = zlib.decompressobj()
    text = reader.decompress(data, most + 1)
    if len(text) > most:
        raise ValueError(f"over {most} bytes unpacked")
    return text


def _text_plain(body: bytes, most: int) -> tuple[bytes, bytes]:
    keyword, _, text = body.partition(b"\0")
    if len(text) > most:
        raise ValueError(f"over {most} bytes")
    return keyword, text


def _text_zipped(body: bytes, most: int) -> tuple[bytes, bytes]:
    keyword, _, rest = body.partition(b"\0")
    if rest[0] != 0:
        raise ValueError("an unknown compression")
    return keyword, _unzipped(rest[1:], most)


def _text_international(body: bytes, most: int) -> tuple[bytes, bytes]:
    keyword, rest = body.split(b"\0", 1)
    zipped, method = rest[0], rest[1]
    _, _, text = rest[2:].split(b"\0", 2)
    if zipped and method != 0:
        raise ValueError("an unknown compression")
    return (keyword, _unzipped(text, most)) if zipped else _text_plain(keyword + b"\0" + text, most)


_TEXTS = {b"tEXt": _text_plain, b"zTXt": _text_zipped, b"iTXt": _text_international}


def _decoded(text: bytes) -> str:
    """Latin-1 by the standard; but many writers put UTF-8 there, which other text hardly ever happens to be."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
