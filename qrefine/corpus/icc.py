"""ICC profiles made of what other formats write as a few numbers: primaries, white point, transfer curve."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
"""Chromaticities x, y of white, red, green and blue, in the order of PNG's cHRM."""

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""g, a, b, c, d of ICC's parametric curve: (a x + b)^g from x = d on, c x below."""

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def rgb_profile(chromaticities: Sequence[float], curve: Sequence[float]) -> bytes:
    """A profile of an RGB display. ``curve``: as SRGB_CURVE, or a gamma alone.

    Raises ValueError where the primaries are none: on one line, or without brightness.
    """
    white, *primaries = (_xyz(*chromaticities[place : place + 2]) for place in range(0, 8, 2))
    try:
        matrix = np.stack(primaries, axis=1)
        matrix = matrix * np.linalg.solve(matrix, white)
        response = _BRADFORD @ white
        matrix = np.linalg.solve(_BRADFORD, (_BRADFORD @ _D50 / response)[:, None] * (_BRADFORD @ matrix))
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries on one line") from error
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 100:
        raise ValueError("primaries without brightness")
    columns = {
        name: _fixed(b"XYZ ", *column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), matrix.T, strict=True)
    }
    return _profile(b"RGB ", columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve)))


def grey_profile(curve: Sequence[float]) -> bytes:
    """A profile of a grey display; ``curve`` as for RGB."""
    return _profile(b"GRAY", {b"kTRC": _curve(curve)})


def _xyz(x: float, y: float) -> np.ndarray:
    if y <= 0:
        raise ValueError("primaries without brightness")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _curve(parameters: Sequence[float]) -> bytes:
    kind = 0 if len(parameters) == 1 else 3
    return b"para" + struct.pack(">IHH", 0, kind, 0) + _numbers(parameters)


def _fixed(kind: bytes, *values: float) -> bytes:
    return kind + bytes(4) + _numbers(values)


def _numbers(values: Sequence[float]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _text(text: str) -> bytes:
    return b"mluc" + struct.pack(">III4sII", 0, 1, 12, b"enUS", 2 * len(text), 28) + text.encode("utf-16-be")


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text("from the image"), b"cprt": _text("CC0"), b"wtpt": _fixed(b"XYZ ", *_D50)} | tags
    table, bodies = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += struct.pack(">4sII", name, start + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    date = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", start + len(bodies), b"", 0x04300000, b"mntr", space, b"XYZ ", date, b"acsp"
    )
    return head + bytes(68 - len(head)) + _numbers(tuple(_D50)) + bytes(128 - 80) + table + bodies
