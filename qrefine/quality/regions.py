"""From a quality map to regions: flattening (equation 4), masks (5) and per-pixel strengths."""

from __future__ import annotations

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from qrefine.config import Bounds
from qrefine.quality.map import Plane, QualityMap

MOST_PATCHES = 256  # per side, unless the grid is set higher


def flatten(quality: QualityMap, height: int, width: int) -> Plane:
    """Q(x, y): bicubic interpolation of Q over 16 neighbours, (height, width) in [0, 1] (equation 4).

    Hard patch edges would leave block artifacts and make a model draw rectangles.
    """
    grid = PIL.Image.fromarray(quality.values)
    plane = np.asarray(grid.resize((width, height), PIL.Image.Resampling.BICUBIC), dtype=np.float32)
    return np.clip(plane, 0, 1)  # bicubic overshoots


def mask(plane: Plane, bound: float) -> Plane:
    """{Q(x, y) < bound} as 0 or 1 (equation 5)."""
    return (plane < bound).astype(np.float32)


def strength(plane: Plane, low: float, high: float, most: float = 1.0) -> Plane:
    """Per-pixel strength: 0 where Q >= ``high``, rising to ``most`` at Q <= ``low`` (mode fused)."""
    if high <= low:
        return most * mask(plane, high)
    return (most * np.clip((high - plane) / (high - low), 0, 1)).astype(np.float32)


def fractions(quality: QualityMap, bounds: Bounds) -> tuple[float, float, float]:
    """Shares of the area below B_LQ, between the bounds, and at or above B_MQ; they add up to 1."""
    lq = float((quality.values < bounds.lq).mean())
    hq = float((quality.values >= bounds.mq).mean())
    return lq, max(0.0, 1.0 - lq - hq), hq


def patch_count(height: int, width: int, grid: int, patch: int | None) -> int:
    """n of an image's map: ``grid`` while its patches have at most ``patch`` pixels a side; in a larger image as
    many as have three quarters of that, but not more than MOST_PATCHES, which limits a map's size in the table.

    So a small defect in a large image still fills enough of a patch: one of 48 px across the corner of four fills
    a seventh of the fullest where patches have 64 px, and a quarter where they have 48.
    """
    longest = max(height, width)
    if patch is None or longest <= grid * patch:
        return grid
    return max(grid, min(MOST_PATCHES, -(-4 * longest // (3 * patch))))


def coarse(quality: QualityMap, most: int) -> QualityMap:
    """The map reduced to at most ``most`` patches per side, for display: each takes the lowest Q in it."""
    if quality.n <= most:
        return quality
    starts = edges(quality.n, most)[:-1]
    return QualityMap(np.minimum.reduceat(np.minimum.reduceat(quality.values, starts, axis=0), starts, axis=1))


def edges(size: int, n: int) -> NDArray[np.intp]:
    """The n + 1 pixel borders of n patches along ``size`` pixels; equation (1)'s i/n h, rounded down."""
    return np.arange(n + 1) * size // n


def patch_any(pixels: NDArray[np.bool_], n: int) -> NDArray[np.bool_]:
    """Which of the n x n patches hold a true pixel; a patch narrower than a pixel takes that pixel's value."""
    rows, columns = (edges(size, n)[:-1] for size in pixels.shape)
    # reduceat takes pixel rows[i] alone where the next border is the same: patches narrower than a pixel
    return np.logical_or.reduceat(np.logical_or.reduceat(pixels, rows, axis=0), columns, axis=1)


def patch_pixels(patches: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels that true patches touch, (height, width)."""
    return _spread(_spread(patches, height).T, width).T


def _spread(patches: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    n = patches.shape[0]
    if size < n:  # several patches share one pixel: it is touched if one of them is true
        return np.logical_or.reduceat(patches, np.searchsorted(edges(size, n), np.arange(size)), axis=0)
    return patches[np.searchsorted(edges(size, n), np.arange(size), side="right") - 1]
