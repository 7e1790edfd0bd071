"""Large images in overlapping tiles, cross-faded, so that memory is bounded and no seam shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Tile(NamedTuple):
    """Pixels [start, stop) of one axis."""

    start: int
    stop: int


def tiles(length: int, size: int, overlap: int, align: int) -> list[Tile]:
    """Tiles that cover [0, length): one if it fits in ``size``, else each ``size`` long but the last.

    Neighbours share at least ``overlap`` pixels; starts are multiples of ``align``, so that a network
    that works on cells of pixels sees the same cells in any tile. Raises ValueError if no such tiling exists.
    """
    step = (size - overlap) // align * align
    if step < 1 or overlap < 0 or size < 1:
        raise ValueError(f"tiles of {size} with an overlap of {overlap} on a grid of {align} never advance")
    if length <= size:
        return [Tile(0, length)]
    starts = range(0, length - size + step, step)
    return [Tile(start, min(start + size, length)) for start in starts]


def fades(found: Sequence[Tile], length: int, overlap: int) -> list[Floats]:
    """Weights of each tile's pixels: rising over ``overlap`` at inner borders; they add up to 1 at every pixel."""
    ramps, total = list[Floats](), np.zeros(length, np.float32)
    for tile in found:
        place = np.arange(tile.stop - tile.start, dtype=np.float32) + 0.5
        ramp = np.ones_like(place)
        if tile.start > 0:
            ramp = np.minimum(ramp, place / overlap)
        if tile.stop < length:
            ramp = np.minimum(ramp, place[::-1] / overlap)
        ramps.append(ramp)
        total[slice(*tile)] += ramp
    for tile, ramp in zip(found, ramps, strict=True):
        ramp /= total[slice(*tile)]
    return ramps


def in_tiles(
    function: Callable[[slice, slice], Floats | None],
    shape: tuple[int, int, int],
    size: int,
    overlap: int,
    align: int,
) -> Floats:
    """The (h, w, c) result of ``function(rows, columns)`` over tiles, cross-faded; None adds zeros.

    ``function`` returns (rows, columns, c) for the given pixels.
    """
    height, width, _ = shape
    across_y, across_x = tiles(height, size, overlap, align), tiles(width, size, overlap, align)
    if len(across_y) == len(across_x) == 1:
        whole = function(slice(0, height), slice(0, width))
        return np.zeros(shape, np.float32) if whole is None else whole
    total = np.zeros(shape, np.float32)
    by_row = zip(across_y, fades(across_y, height, overlap), strict=True)
    by_column = zip(across_x, fades(across_x, width, overlap), strict=True)
    for (y, down), (x, along) in product(by_row, by_column):
        rows, columns = slice(*y), slice(*x)
        if (part := function(rows, columns)) is not None:
            total[rows, columns] += part * down[:, None, None] * along[None, :, None]
    return total


class Strip(NamedTuple):
    """Rows to answer for (``rows``), rows to look at (``seen``), the first ``within`` the second."""

    rows: slice
    seen: slice
    within: slice


def strips(height: int, size: int, halo: int) -> list[Strip]:
    """Strips of ``size`` rows, each seen with ``halo`` more rows on both sides where the image has them."""
    found = []
    for top in range(0, height, size):
        bottom, first = min(top + size, height), max(0, top - halo)
        seen = slice(first, min(height, bottom + halo))
        found.append(Strip(slice(top, bottom), seen, slice(top - first, bottom - first)))
    return found
