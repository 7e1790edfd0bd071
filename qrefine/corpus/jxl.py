"""The size of a JPEG XL image, from its header: its decoder takes no limit."""

from __future__ import annotations

import struct

_BITS = (9, 13, 18, 30)
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height


def jxl_size(data: bytes) -> tuple[int, int] | None:
    """Width and height (ISO/IEC 18181-1, SizeHeader); None where there is no header."""
    stream = data if data[:2] == b"\xff\x0a" else _stream(data)
    if stream[:2] != b"\xff\x0a":
        return None
    bits = _Bits(int.from_bytes(stream[2:18], "little"))
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio == 0:
        return _side(bits, small), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


class _Bits:
    def __init__(self, value: int) -> None:
        self.value = value

    def take(self, count: int) -> int:
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        return taken


def _side(bits: _Bits, small: int) -> int:
    return 8 * (bits.take(5) + 1) if small else bits.take(_BITS[bits.take(2)]) + 1


def _stream(data: bytes) -> bytes:
    """The beginning of the code stream in a file of boxes."""
    place = 0
    while place + 16 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        if kind == b"jxlc":
            return data[place + head : place + head + 18]
        if kind == b"jxlp":
            return data[place + head + 4 : place + head + 22]
        if length < head:
            break
        place += length
    return b""
