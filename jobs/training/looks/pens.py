"""Supersampled drawing, points with places between pixels, discs, cells of points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageDraw

from training.looks.base import Colour, Floats, Image


class Sheet:
    """A drawing at ``scale`` times the size, shrunk at the end: anti-aliased polygons, lines and letters."""

    def __init__(self, size: int, ground: Colour | Image, scale: int = 3) -> None:
        self.size, self.scale = size, scale
        if isinstance(ground, tuple):
            self.image = PIL.new("RGB", (size * scale, size * scale), ground)
        else:
            self.image = PIL.fromarray(ground).resize((size * scale, size * scale), PIL.Resampling.NEAREST)
        self.pen = ImageDraw.Draw(self.image)

    def at(self, points: NDArray[np.floating]) -> list[tuple[float, float]]:
        """Points (n, 2) as x, y in pixels of the result, for the pen."""
        return [(x, y) for x, y in (np.asarray(points) * self.scale).tolist()]

    def polygon(
        self, points: NDArray[np.floating], fill: Colour | None, line: Colour | None = None, width: float = 1
    ) -> None:
        """A filled and/or outlined polygon."""
        at = self.at(points)
        if fill is not None:
            self.pen.polygon(at, fill=fill)
        if line is not None:
            self.pen.line([*at, at[0], at[1]], fill=line, width=max(1, round(width * self.scale)), joint="curve")

    def line(self, points: NDArray[np.floating], fill: Colour, width: float = 1) -> None:
        """A polyline; ``width`` in pixels of the result."""
        joint = "curve" if len(points) > 2 and width * self.scale > 5.5 else None
        self.pen.line(self.at(points), fill=fill, width=max(1, round(width * self.scale)), joint=joint)

    def disc(
        self, x: float, y: float, radius: float, fill: Colour | None, line: Colour | None = None, width: float = 1
    ) -> None:
        """A disc or a ring."""
        s = self.scale
        box = ((x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s)
        self.pen.ellipse(box, fill=fill, outline=line, width=max(1, round(width * s)))

    def done(self) -> Image:
        """The drawing at its size."""
        return np.asarray(self.image.reduce(self.scale) if self.scale > 1 else self.image)


def splat(
    canvas: Floats,
    ys: NDArray,
    xs: NDArray,
    sigmas: NDArray,
    colours: NDArray,
    reach: int | None = None,
    disc: bool = False,
) -> None:
    """Adds points with sub-pixel places to ``canvas`` (h, w, 3) in 0..255, in place.

    A point is a Gaussian of ``sigmas`` px, or (``disc``) an anti-aliased disc of that radius; ``colours`` (n, 3)
    is what it adds at its centre.
    """
    height, width, _ = canvas.shape
    sigmas = np.broadcast_to(np.asarray(sigmas, np.float32), (len(ys),))
    reach = reach or max(1, math.ceil(float(sigmas.max()) * (1 if disc else 2.5) + 0.5))
    offset = np.arange(-reach, reach + 1)
    iy, ix = np.rint(ys).astype(int), np.rint(xs).astype(int)
    dy = (iy - ys)[:, None, None] + offset[None, :, None]
    dx = (ix - xs)[:, None, None] + offset[None, None, :]
    if disc:
        weight = np.clip(sigmas[:, None, None] + 0.5 - np.hypot(dy, dx), 0, 1)
    else:
        weight = np.exp(-(dy**2 + dx**2) / (2 * sigmas[:, None, None] ** 2))
    rows = np.broadcast_to(iy[:, None, None] + offset[None, :, None], weight.shape).ravel()
    columns = np.broadcast_to(ix[:, None, None] + offset[None, None, :], weight.shape).ravel()
    value = (weight[..., None] * np.asarray(colours, np.float32)[:, None, None, :]).reshape(-1, 3)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = rows[inside] * width + columns[inside]
    for channel in range(3):
        added = np.bincount(flat, value[inside, channel], height * width)
        canvas[..., channel] += added.reshape(height, width).astype(np.float32)


def cover(size: int, ys: NDArray, xs: NDArray, radii: NDArray, reach: int | None = None) -> Floats:
    """Coverage (size, size) in [0, 1] by anti-aliased discs."""
    canvas = np.zeros((size, size, 3), np.float32)
    splat(canvas, ys, xs, radii, np.ones((len(ys), 3)), reach, disc=True)
    return np.minimum(canvas[..., 0], 1)


def scattered(size: int, count: int, rng: np.random.Generator, spread: float = 0.3) -> tuple[NDArray, NDArray]:
    """About ``count`` points y, x, one in each cell of a grid, jittered: even, but without rows."""
    side = max(1, round(math.sqrt(count)))
    y, x = (v.ravel() + 0.5 for v in np.mgrid[: side + 2, : side + 2].astype(np.float64))
    y, x = (v - 1 + rng.uniform(-0.5 - spread, 0.5 + spread, v.shape) * 0.9 for v in (y, x))
    return y * size / side, x * size / side


def nearest(size: int, ys: NDArray, xs: NDArray, stretch: float = 1.0) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Voronoi cells of points: index of the nearest, distance to it and to the second, (size, size) each.

    Points are sorted into a grid; each pixel looks at those of its own and the eight cells about it.
    """
    cell = max(4.0, size / max(1.0, math.sqrt(len(ys))) * 1.3)
    side = math.ceil(size / cell)
    gy, gx = np.clip(ys // cell, -1, side).astype(int) + 1, np.clip(xs // cell, -1, side).astype(int) + 1
    buckets: dict[tuple[int, int], list[int]] = {}
    for i, key in enumerate(zip(gy.tolist(), gx.tolist(), strict=True)):
        buckets.setdefault(key, []).append(i)
    index = np.zeros((size, size), np.int64)
    first, second = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    for row in range(side):
        for column in range(side):
            near = [i for a in range(3) for b in range(3) for i in buckets.get((row + a, column + b), ())]
            if len(near) < 2:
                near = list(range(len(ys)))
            top, left = int(row * cell), int(column * cell)
            bottom = size if row == side - 1 else int((row + 1) * cell)
            right = size if column == side - 1 else int((column + 1) * cell)
            y = np.arange(top, bottom, dtype=np.float32)[:, None, None]
            x = np.arange(left, right, dtype=np.float32)[None, :, None]
            chosen = np.array(near)
            d = (y - ys[chosen].astype(np.float32)) ** 2 + ((x - xs[chosen].astype(np.float32)) * stretch) ** 2
            best = d.argmin(-1)[..., None]
            least = np.take_along_axis(d, best, -1)[..., 0]
            np.put_along_axis(d, best, np.inf, -1)
            index[top:bottom, left:right] = chosen[best[..., 0]]
            first[top:bottom, left:right], second[top:bottom, left:right] = np.sqrt(least), np.sqrt(d.min(-1))
    return index, first, second


def sampled(image: Image, ys: NDArray, xs: NDArray) -> NDArray[np.uint8]:
    """Colours (n, 3) of ``image`` at points, clipped into it."""
    height, width, _ = image.shape
    return image[np.clip(ys, 0, height - 1).astype(int), np.clip(xs, 0, width - 1).astype(int)]
