"""What a backend with `FixedSizes` is shown of a defect: windows of the image, each fed at one of its sizes.

A box that fits into a size gets one window; a larger one is covered by tiles that overlap. Pixels keep their
shape: a window is scaled by the same factor both ways and never made smaller. What a size has more than the image
has pixels is filled up with mirrored ones of strength 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from qrefine.stages.boxes import Box

Size = tuple[int, int]
"""(height, width) in pixels."""

OVERLAP = 8  # neighbouring tiles share 1/8 of their side, and cross-fade over half of that
ZOOM = 8  # a window is 1/8 of the size that it is fed at, or more: beyond, there is nothing to see


class Crop(NamedTuple):
    """``defect``: the box that the backend works on; ``window``: pixels it sees; ``box``: pixels written.

    The window is scaled to ``inner`` pixels and filled up to ``size``. Over the first ``seam`` rows and columns of
    its box a tile fades in over the tiles before it.
    """

    defect: Box
    window: Box
    box: Box
    inner: Size
    size: Size
    seam: Size = (0, 0)


def plain(box: Box) -> Crop:
    """The box itself, as it is."""
    size = (box.height, box.width)
    return Crop(box, box, box, size, size)


def windows(box: Box, height: int, width: int, sizes: Sequence[Size], enlarge: bool) -> list[Crop]:
    """The crops that show ``box`` of an image (height, width), tiles in rows from the top.

    ``enlarge``: show it as large as a size allows, else at the image's own resolution. Of the sizes that hold the
    box it is the one that shows most of it, or the smallest; of those that do not, the one with the fewest tiles.
    """
    holding = [size for size in sizes if box.height <= size[0] and box.width <= size[1]]
    if holding:
        return [
            min(
                (_single(box, height, width, size, enlarge) for size in holding), key=_detail if enlarge else _cost
            )
        ]
    tilings = [
        _tiled(box, height, width, size, scale)
        for size in sizes
        for scale in dict.fromkeys((1.0, _filling(box, size) if enlarge else 1.0))
    ]
    return min(tilings, key=_tiling_cost)


def _single(box: Box, height: int, width: int, size: Size, enlarge: bool) -> Crop:
    scale = 1.0
    if enlarge:
        # the box, but no less than what ZOOM allows, as far as there is an image
        tall = max(box.height, min(height, -(-size[0] // ZOOM)))
        wide = max(box.width, min(width, -(-size[1] // ZOOM)))
        scale = min(size[0] / tall, size[1] / wide)
    window = _around(box, height, width, size, scale)
    return Crop(box, window, box, _inner(window, size, scale), size)


def _around(box: Box, height: int, width: int, size: Size, scale: float) -> Box:
    """A window of the size's shape around the box, inside of the image."""
    tall, wide = (
        min(most, max(own, int(side / scale + 1e-6)))
        for side, own, most in zip(size, (box.height, box.width), (height, width), strict=True)
    )
    top = min(max(0, (box.top + box.bottom - tall) // 2), height - tall)
    left = min(max(0, (box.left + box.right - wide) // 2), width - wide)
    return Box(top, left, top + tall, left + wide)


def _inner(window: Box, size: Size, scale: float) -> Size:
    scale = min(scale * (1 + 1e-9), size[0] / window.height, size[1] / window.width)
    return min(size[0], round(window.height * scale)), min(size[1], round(window.width * scale))


def _detail(crop: Crop) -> tuple[float, float, Size]:
    """Most of it is image, and the box fills it best."""
    fill = min(crop.size[0] / crop.defect.height, crop.size[1] / crop.defect.width)
    return round(_filled_up(crop), 1), -fill, crop.size


def _cost(crop: Crop) -> tuple[int, float, Size]:
    return area(crop.size), _filled_up(crop), crop.size


def _filled_up(crop: Crop) -> float:
    return 1 - area(crop.inner) / area(crop.size)


def _filling(box: Box, size: Size) -> float:
    """The scale at which tiles of this size have no room to spare across the shorter way of the box."""
    return max(1.0, min(ZOOM, max(size[0] / box.height, size[1] / box.width)))


def _tiled(box: Box, height: int, width: int, size: Size, scale: float) -> list[Crop]:
    tall, wide = int(size[0] / scale + 1e-6), int(size[1] / scale + 1e-6)
    crops = []
    for row in _spans(box.top, box.bottom, tall, height):
        for column in _spans(box.left, box.right, wide, width):
            window = Box(row.start, column.start, row.stop, column.stop)
            written = Box(row.first, column.first, row.last, column.last)
            seam = (row.seam, column.seam)
            crops.append(Crop(box, window, written, _inner(window, size, scale), size, seam))
    return crops


def _tiling_cost(crops: list[Crop]) -> tuple[bool, int, float, float, Size]:
    """Half of it is image or more; then few tiles, unscaled, with little filled up."""
    spare = 1 - sum(area(crop.inner) for crop in crops) / sum(area(crop.size) for crop in crops)
    scale = crops[0].inner[0] / crops[0].window.height
    return spare > 0.5, len(crops), scale, spare, crops[0].size


class _Span(NamedTuple):
    """Along one axis: pixels seen [start, stop), written [first, last), the first ``seam`` of them fading in."""

    start: int
    stop: int
    first: int
    last: int
    seam: int


def _spans(low: int, high: int, side: int, length: int) -> list[_Span]:
    """Spans of ``side`` pixels over [low, high) of an axis of ``length``, evenly spread; one if that is enough."""
    side = min(side, length)
    if high - low <= side:
        start = min(max(0, (low + high - side) // 2), length - side)
        return [_Span(start, start + side, low, high, 0)]
    overlap = max(1, side // OVERLAP)
    count = math.ceil((high - low - overlap) / (side - overlap)) if side > overlap else high - low
    starts = [round(start) for start in np.linspace(low, high - side, count).tolist()]
    # tiles hand over in the middle of what they share; the later one fades in around it
    middles = [(before + side + start) // 2 for before, start in pairwise(starts)]
    half = overlap // 4
    firsts = [low, *(middle - half for middle in middles)]
    lasts = [*(middle + half for middle in middles), high]
    seams = [0, *(2 * half for _ in middles)]
    return [
        _Span(start, start + side, first, last, seam)
        for start, first, last, seam in zip(starts, firsts, lasts, seams, strict=True)
    ]


def area(size: Size) -> int:
    return size[0] * size[1]
