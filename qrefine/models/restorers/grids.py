"""Checkerboards: a grid that repeats every 8 pixels is measured over the whole region and taken away.

Decoders with transposed convolutions or nearest-neighbour layers leave a pattern of period 2, 4 or 8 pixels on
everything that they draw (Odena, Dumoulin and Olah, "Deconvolution and Checkerboard Artifacts", Distill, 2016).
Content averages out over hundreds of periods and the pattern does not, so it is known far better than any network
can guess it from a few. It is accepted as one only where it is significant, visible, more than lines, and present
nearly everywhere in a region of many colours: scan lines, tiles, dither and pixel art are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.models.tiling import Floats, strips
from qrefine.quality.map import Image, Plane

Number = TypeVar("Number", np.float32, np.uint8)

PERIOD = 8
"""Pixels. Patterns of period 2 and 4 repeat every 8 too."""

SIGNIFICANT = 40.0
"""Least power of the pattern over that of its standard error, the median of the channels."""

VISIBLE = 1.5
"""Least standard deviation of the pattern, in levels."""

EVERYWHERE = 0.9
"""Least share of the region in which the pattern has 0.3 of its mean amplitude or more."""

LINES = 0.9
"""Most of the pattern's power that its rows' or its columns' means may have: beyond it there are but lines."""

COLOURS = 0.1
"""Least share of distinct colours among ``_SAMPLE`` pixels: what is drawn has fewer."""

NEAR = 17
"""Pixels along a side of the window over which the amplitude is measured: it is stronger on texture."""

BLOCKS = 4096
"""At most so many blocks of 8 x 8 pixels are looked at."""

_FEWEST = 32
_SAMPLE = 16384
_HALO = PERIOD // 2 + NEAR // 2
_ROWS = 256


@dataclass(frozen=True)
class Grid:
    """``pattern`` (8, 8, 3) in levels, by rows and columns of the image modulo 8, with a mean of 0.

    ``significance``: its power over that of its standard error. ``colours``: the share of distinct ones.
    """

    pattern: Floats
    significance: float
    colours: float

    @property
    def holds(self) -> bool:
        lines = max(float((self.pattern.mean(axis) ** 2).mean()) for axis in (0, 1))
        return (
            self.significance >= SIGNIFICANT and float(self.pattern.std()) >= VISIBLE and self.colours >= COLOURS
            and lines <= LINES * float((self.pattern**2).mean())
        )  # fmt: skip


def without_grid(image: Image, weight: Plane) -> Image:
    """``image`` (h, w, 3) less the grid in it, times ``weight`` (h, w) in [0, 1]; the same object where there is
    none."""
    grid = measured(image, weight)
    if grid is None or not grid.holds:
        return image
    amplitude = _amplitude(image, weight, grid.pattern)
    if (amplitude[weight > 0.5] < 0.3).mean() > 1 - EVERYWHERE:
        return image
    result = image.copy()
    for rows, _, _ in strips(len(image), _ROWS, 0):
        taken = (amplitude[rows].clip(0, 3) * weight[rows])[..., None] * _laid(grid.pattern, image[rows].shape)
        result[rows] = np.rint(image[rows] - taken).clip(0, 255)
    return result


def measured(image: Image, weight: Plane) -> Grid | None:
    """The mean pattern over blocks that weigh more than a half; None where these are too few to tell."""
    blocks, colours = _blocks(image, weight)
    if len(blocks) < _FEWEST:
        return None
    pattern, trust = blocks.mean(0), np.ones_like(blocks)
    for _ in range(2):  # Cauchy's weights: edges and details count little
        apart = blocks - pattern
        scale = np.sqrt((apart * apart * trust).sum((0, 1, 2)) / trust.sum((0, 1, 2)))
        trust = 1 / (1 + (apart / (0.7 * scale + 1e-6)) ** 2)
        pattern = (blocks * trust).sum(0) / trust.sum(0)
    error = np.sqrt((((blocks - pattern) * trust) ** 2).sum(0)) / trust.sum(0)
    pattern = pattern - pattern.mean((0, 1))
    powers = (pattern**2).sum((0, 1)) / np.maximum((error**2).sum((0, 1)), 1e-6)
    return Grid(pattern, float(np.median(powers)), colours)


def _blocks(image: Image, weight: Plane) -> tuple[Floats, float]:
    """Blocks (n, 8, 8, 3) of the residual, evenly from those that weigh more than a half, and ``Grid.colours``."""
    height, width = (side // PERIOD * PERIOD for side in weight.shape)
    shape = (height // PERIOD, PERIOD, width // PERIOD, PERIOD)
    inside = weight[:height, :width].reshape(shape).min((1, 3)) > 0.5
    chosen = np.flatnonzero(inside)
    chosen = chosen[:: max(1, -(-len(chosen) // BLOCKS))]
    wanted = np.zeros(inside.size, bool)
    wanted[chosen] = True
    wanted = wanted.reshape(inside.shape)
    found, pixels = list[Floats](), list[Image]()
    for rows, seen, within in strips(height, _ROWS, _HALO):
        here = wanted[rows.start // PERIOD : rows.stop // PERIOD]
        if here.any():
            found.append(_cut(residual(image[seen])[within, :width])[here])
            pixels.append(_cut(image[rows, :width])[here])
    if not found:
        return np.empty((0, PERIOD, PERIOD, 3), np.float32), 0.0
    return np.concatenate(found), _colours(np.concatenate(pixels).reshape(-1, 3))


def _cut(values: NDArray[Number]) -> NDArray[Number]:
    """(h, w, 3) -> its blocks (h / 8, w / 8, 8, 8, 3)."""
    height, width, _ = values.shape
    return values.reshape(height // PERIOD, PERIOD, width // PERIOD, PERIOD, 3).swapaxes(1, 2)


def _colours(pixels: NDArray[np.uint8]) -> float:
    """The share of distinct colours among pixels (n, 3), of which ``_SAMPLE`` are looked at."""
    some = pixels[:: max(1, -(-len(pixels) // _SAMPLE))].astype(np.int32)
    return len(np.unique(some @ np.array([65536, 256, 1], np.int32))) / len(some)


def residual(image: Image) -> Floats:
    """``image`` less its mean over one period around each pixel: all of the grid and little of the content."""
    line = np.full(PERIOD + 1, 1 / PERIOD, np.float32)
    line[[0, -1]] /= 2
    values = image.astype(np.float32)
    return values - cv2.sepFilter2D(values, -1, line, line, borderType=cv2.BORDER_REFLECT)


def _amplitude(image: Image, weight: Plane, pattern: Floats) -> Floats:
    """How strong the grid is around each pixel, (h, w): the residual's regression on the pattern."""
    result, power = np.empty(weight.shape, np.float32), float((pattern**2).mean())
    window = (NEAR, NEAR)
    for rows, seen, within in strips(len(image), _ROWS, _HALO + -_HALO % PERIOD):  # phases start at a period
        part, w = residual(image[seen]), weight[seen]
        laid = _laid(pattern, part.shape)
        along = cv2.blur((part * laid).sum(2) * w, window, borderType=cv2.BORDER_REFLECT)
        of = cv2.blur((laid * laid).sum(2) * w, window, borderType=cv2.BORDER_REFLECT)
        result[rows] = (along / (of + 1e-3 * power))[within]
    return result


def _laid(pattern: Floats, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The pattern repeated over rows and columns."""
    height, width = shape[:2]
    return np.tile(pattern, (-(-height // PERIOD), -(-width // PERIOD), 1))[:height, :width]
