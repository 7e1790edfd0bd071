"""JPEGs that lack their last bytes: read, as browsers do, where all but the tail is there."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import PIL.Image

MOST_MISSING = 0.05  # share of the pixels

_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data: not an escaped byte, a restart or a filler
_COEFFICIENTS = frozenset(range(64))


def without_tail(data: bytes) -> PIL.Image.Image | None:
    """The decoded image of a truncated JPEG; None where more than MOST_MISSING of it is not there.

    What is missing shows by decoding twice, with an end and with nonsense put behind the data: the pixels that
    differ come from there. Of a progressive JPEG all scans must have begun.
    """
    data = data.rstrip(b"\xff")  # of a pair that was cut in two
    if not _all_scans_began(data):
        return None
    image = _decoded(data + _END)
    nonsense = np.random.default_rng(0).integers(0, 255, image.width * image.height, dtype=np.uint8).tobytes()
    other = _decoded(data + nonsense + _END)
    differs = np.asarray(image) != np.asarray(other)
    share = float(differs.reshape(image.height, image.width, -1).any(axis=-1).mean())
    return image if share <= MOST_MISSING else None


def _decoded(data: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(data), formats=("JPEG",))
    image.load()
    return image


def _all_scans_began(data: bytes) -> bool:
    """Whether each component's coefficients were sent, or begun, to their last bit."""
    missing: dict[int, set[int]] = {}
    place = 2
    while found := _MARKER.search(data, place):
        kind, place = data[found.start() + 1], found.end()
        if place + 2 > len(data):
            break
        length = struct.unpack_from(">H", data, place)[0]
        body = data[place + 2 : place + length]
        place += length
        if kind in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA) and len(body) > 5:
            missing = {identity: set(_COEFFICIENTS) for identity in body[6::3]}
        elif kind == 0xDA and body and len(body) == 4 + 2 * body[0]:
            first, last, bits = body[-3:]
            for identity in body[1:-3:2]:
                if bits & 15 == 0 and identity in missing:
                    missing[identity] -= set(range(first, last + 1))
    return bool(missing) and not any(missing.values())
