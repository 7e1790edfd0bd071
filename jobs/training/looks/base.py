"""Registry of looks, and what they share: numbers, noise, crops, colours."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageFilter

Image = NDArray[np.uint8]


"""(h, w, 3) RGB."""


Floats = NDArray[Any]


"""Planes (h, w) and images (h, w, 3) in floating point: 32 bits wherever speed matters."""


Colour = tuple[int, ...]
"""Red, green, blue in 0..255."""


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
    """Noise of amplitude spectrum 1/f^beta, (size, size), mean 0, deviation 1; ``stretch`` along ``angle``."""
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


def crop(photo: Image | None, size: int, rng: np.random.Generator, largest: float = 3.0) -> Image:
    """A square of ``photo`` at (size, size): never enlarged, shrunk by up to ``largest``; without: a scene."""
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


def colour(rng: np.random.Generator, low: float = 0.0, high: float = 1.0) -> Colour:
    """Any hue; ``low``..``high`` bound the value."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.beta(1.5, 1.5), rng.uniform(low, high))
    return int(r * 255), int(g * 255), int(b * 255)


def palette(rng: np.random.Generator, count: int) -> list[Colour]:
    """Colours that belong together: a few hues about one, or evenly round the circle, dark to light."""
    hue, spread = rng.random(), rng.choice([0.04, 0.12, 0.33, 1.0])
    saturation = rng.uniform(0.1, 1.0)
    colours: list[Colour] = []
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


def ramped(tone: Floats, stops: Sequence[Colour]) -> Floats:
    """``tone`` in [0, 1] through a colour map of even ``stops``; (h, w, 3) in 0..255."""
    places, fine = np.linspace(0, 1, len(stops)), np.linspace(0, 1, 4096)
    table = np.stack([np.interp(fine, places, [c[i] for c in stops]) for i in range(3)], -1).astype(np.float32)
    return table[np.clip(tone * 4095 + 0.5, 0, 4095).astype(np.int32)]
