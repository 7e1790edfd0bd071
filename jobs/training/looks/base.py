"""The registry of looks, and what they share: crops, palettes, noise, points, supersampled drawing."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageDraw, ImageFilter

Image = NDArray[np.uint8]
"""(h, w, 3) RGB."""
Floats = NDArray[Any]
"""Planes (h, w) and images (h, w, 3) in floating point: 32 bits wherever speed matters."""
Colour = tuple[int, int, int]
Render = Callable[["Image | None", int, np.random.Generator], Image]


@dataclass(frozen=True)
class Look:
    """A family of undamaged pictures.

    ``photo``: it is made from a photograph where one is given. ``marks``: points and sparse marks.
    ``held_out``: for validation alone.
    """

    name: str
    function: Render
    photo: bool
    marks: bool
    held_out: bool

    def render(self, photo: Image | None, size: int, rng: np.random.Generator) -> Image:
        """(size, size, 3) uint8; the same for the same arguments and state of ``rng``."""
        made = self.function(photo, size, rng)
        if made.shape != (size, size, 3) or made.dtype != np.uint8:
            raise ValueError(f"look {self.name} made {made.shape} {made.dtype}, not ({size}, {size}, 3) uint8")
        return np.ascontiguousarray(made)


LOOKS: dict[str, Look] = {}
"""Every family by name."""


def look(*, photo: bool = False, marks: bool = False, held_out: bool = False) -> Callable[[Render], Render]:
    """Registers a function under its own name."""

    def register(function: Render) -> Render:
        name = function.__name__
        if name in LOOKS:
            raise ValueError(f"two looks are called {name}")
        LOOKS[name] = Look(name, function, photo, marks, held_out)
        return function

    return register


# Numbers


def to_uint8(values: NDArray[np.floating]) -> Image:
    """Values in 0..255, rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Even on a logarithmic scale."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def smoothstep(low: float, high: float, values: Floats) -> Floats:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def ramp(distance: Floats, width: float = 1.0) -> Floats:
    """Coverage of a pixel by {distance > 0}, ``distance`` in pixels: an anti-aliased edge."""
    return np.clip(distance / width + 0.5, 0, 1).astype(np.float32)


def mix(a: Floats, b: Floats, share: Floats) -> Floats:
    """``b`` over ``a`` at ``share`` (h, w) in [0, 1]; a, b are (h, w, 3) or a colour (3,)."""
    return np.asarray(a, np.float32) * (1 - share[..., None]) + np.asarray(b, np.float32) * share[..., None]


def plane(size: int) -> tuple[Floats, Floats]:
    """Coordinates y, x of pixel centres, (size, size) each."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return y, x


def turned(size: int, angle: float) -> tuple[Floats, Floats]:
    """Coordinates u along ``angle`` and v across it, about the centre."""
    y, x = plane(size)
    y, x = y - size / 2, x - size / 2
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def resized(values: NDArray, size: int, kernel: PIL.Resampling = PIL.Resampling.BICUBIC) -> NDArray:
    """A plane (h, w) float32 or an image (h, w, 3) uint8 at (size, size)."""
    return np.asarray(PIL.fromarray(values).resize((size, size), kernel))


def smooth_noise(size: int, cells: float, rng: np.random.Generator) -> Floats:
    """Gaussian-like noise of about ``cells`` bumps across, (size, size), mean 0, deviation 1."""
    n = max(2, round(cells)) + 3
    coarse = rng.standard_normal((n, n)).astype(np.float32)
    big = math.ceil(size * n / max(cells, 1))
    fine = np.asarray(PIL.fromarray(coarse).resize((max(big, size), max(big, size)), PIL.Resampling.BICUBIC))
    top, left = (int(v) for v in rng.integers(0, fine.shape[0] - size + 1, 2))
    part = fine[top : top + size, left : left + size]
    return (part - part.mean()) / (part.std() + 1e-6)


def fractal(size: int, beta: float, rng: np.random.Generator, stretch: float = 1.0, angle: float = 0.0) -> Floats:
    """Noise with an amplitude spectrum 1/f^beta, (size, size), mean 0, deviation 1; ``stretch`` along ``angle``."""
    n = 1 << (size - 1).bit_length()
    n = n if n * 3 // 4 < size else n * 3 // 4
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]
    u = (fx * math.cos(angle) + fy * math.sin(angle)) * stretch
    v = fy * math.cos(angle) - fx * math.sin(angle)
    falloff = (np.hypot(u, v) + 0.7 / n) ** -beta
    spectrum = np.fft.rfft2(rng.standard_normal((n, n), dtype=np.float32)) * falloff
    values = np.fft.irfft2(spectrum, (n, n)).astype(np.float32)[:size, :size]
    return (values - values.mean()) / (values.std() + 1e-9)


def unit(values: Floats) -> Floats:
    """Stretched to [0, 1]."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low + 1e-9)


# Pictures to start from


def crop(photo: Image | None, size: int, rng: np.random.Generator, largest: float = 3.0) -> Image:
    """A square of ``photo`` at (size, size): never enlarged, shrunk by up to ``largest``; a scene where there is none."""
    if photo is None:
        return scene(size, rng)
    height, width = photo.shape[:2]
    if min(height, width) < size:
        pad = [(0, max(0, size - height)), (0, max(0, size - width)), (0, 0)]
        photo = np.pad(photo, pad, mode="symmetric")
        height, width = photo.shape[:2]
    reach = int(size * rng.uniform(1, max(1.0, min(largest, min(height, width) / size))))
    top, left = int(rng.integers(0, height - reach + 1)), int(rng.integers(0, width - reach + 1))
    part = photo[top : top + reach, left : left + reach]
    if reach != size:
        part = resized(np.ascontiguousarray(part), size, PIL.Resampling.LANCZOS)
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def scene(size: int, rng: np.random.Generator) -> Image:
    """Soft shaded discs before a gradient: something with light and dark, for looks that want a picture."""
    a, b = (np.array(colour(rng), np.float32) for _ in range(2))
    u, _ = turned(size, rng.uniform(0, 2 * math.pi))
    canvas = mix(a, b, unit(u))
    y, x = plane(size)
    for _ in range(int(rng.integers(3, 14))):
        cy, cx, radius = *rng.uniform(0, size, 2), size * rng.uniform(0.06, 0.35)
        distance = np.hypot(y - cy, x - cx)
        light = 1.1 - 0.8 * np.hypot(y - cy + radius * 0.4, x - cx + radius * 0.4) / radius
        canvas = mix(canvas, np.array(colour(rng)) * light[..., None], ramp(radius - distance))
    return to_uint8(canvas)


def grey(image: Image) -> Floats:
    """Luma in 0..1."""
    return (image @ np.array([0.299, 0.587, 0.114], np.float32) / 255).astype(np.float32)


def stretched(tone: Floats, rng: np.random.Generator) -> Floats:
    """Tone spread over [0, 1] by its own quantiles, with a gamma by chance."""
    low, high = np.quantile(tone, [0.02, 0.98])
    return np.clip((tone - low) / (high - low + 1e-6), 0, 1) ** np.float32(rng.uniform(0.7, 1.4))


def blurred(image: Image, sigma: float) -> Image:
    """Gaussian blur of an (h, w, 3) or (h, w) uint8 array."""
    return np.asarray(PIL.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def soft(values: Floats, sigma: float) -> Floats:
    """Gaussian blur of a plane in [0, 1]; to 8 bits, so for masks rather than for tones."""
    return blurred(to_uint8(values * 255), sigma).astype(np.float32) / 255


def median(image: Image, width: int) -> Image:
    """Median filter of odd ``width``."""
    return np.asarray(PIL.fromarray(image).filter(ImageFilter.MedianFilter(width)))


# Colour


def colour(rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> Colour:
    """Any hue; ``low``..``high`` bound the value."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.beta(1.5, 1.5), rng.uniform(low, high))
    return int(r * 255), int(g * 255), int(b * 255)


def palette(rng: np.random.Generator, count: int) -> list[Colour]:
    """Colours that belong together: a few hues about one, or evenly round the circle, dark to light."""
    hue, spread = rng.random(), rng.choice([0.04, 0.12, 0.33, 1.0])
    saturation, colours = rng.uniform(0.1, 1.0), []
    for value in rng.permutation(np.linspace(rng.uniform(0.05, 0.5), rng.uniform(0.7, 1), count)):
        h = hue + spread * rng.uniform(-0.5, 0.5)
        r, g, b = colorsys.hsv_to_rgb(h % 1, np.clip(saturation * rng.uniform(0.6, 1.4), 0, 1), float(value))
        colours.append((int(r * 255), int(g * 255), int(b * 255)))
    return colours


def paper(rng: np.random.Generator) -> Colour:
    """White, cream, grey or a light tint."""
    if rng.random() < 0.4:
        return (255, 255, 255)
    r, g, b = colorsys.hsv_to_rgb(
        rng.random() if rng.random() < 0.3 else 0.11, rng.uniform(0, 0.25), rng.uniform(0.8, 1)
    )
    return int(r * 255), int(g * 255), int(b * 255)


def ink(rng: np.random.Generator) -> Colour:
    """Black, or a dark colour."""
    return (0, 0, 0) if rng.random() < 0.3 else colour(rng, 0.0, 0.4)


def ramped(tone: Floats, stops: list[Colour]) -> Floats:
    """``tone`` in [0, 1] through a colour map of even ``stops``; (h, w, 3) in 0..255."""
    places, fine = np.linspace(0, 1, len(stops)), np.linspace(0, 1, 4096)
    table = np.stack([np.interp(fine, places, [c[i] for c in stops]) for i in range(3)], -1).astype(np.float32)
    return table[np.clip(tone * 4095 + 0.5, 0, 4095).astype(np.int32)]


# Drawing


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

    A point is a Gaussian of ``sigmas`` px, or (``disc``) an anti-aliased disc of that radius; ``colours`` (n, 3) is
    what it adds at its centre.
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
