"""Images made by program, sharp to the pixel: no data needed, and with what photographs lack (text, flat art)."""

from __future__ import annotations

import math

import cv2
import numpy as np

from qrefine.quality.map import Image
from qrefine.training.degradations import Floats
from qrefine.training.scale import to_uint8


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(0, 255, 3)
    return float(red), float(green), float(blue)


def gradient(size: int, rng: np.random.Generator) -> Floats:
    """A smooth change between colours; the ground of most other scenes. (size, size, 3) in 0..255."""
    corners = rng.uniform(0, 255, (int(rng.integers(2, 5)), int(rng.integers(2, 5)), 3)).astype(np.float32)
    return np.clip(cv2.resize(corners, (size, size), interpolation=cv2.INTER_CUBIC), 0, 255)


def dead_leaves(size: int, rng: np.random.Generator) -> Floats:
    """Discs that hide each other, radii by a power law: the statistics of natural images (Lee et al. 2001)."""
    canvas, smallest = gradient(size, rng), rng.uniform(2, 6)
    for _ in range(int(rng.integers(60, 260))):
        radius = smallest / max(rng.random(), (smallest / (size / 2)) ** 2) ** 0.5
        cx, cy = (int(v) for v in rng.integers(-20, size + 20, 2))
        cv2.circle(canvas, (cx, cy), max(1, int(radius)), _colour(rng), -1, cv2.LINE_AA)
    return canvas


def texture(size: int, rng: np.random.Generator) -> Floats:
    """Oriented 1/f^a textures, a in 1.2 to 2: cloth, bark, clouds."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    angle, stretch = rng.uniform(0, math.pi), rng.uniform(1, 4)
    u = fx * math.cos(angle) + fy * math.sin(angle)
    v = (fy * math.cos(angle) - fx * math.sin(angle)) * stretch
    falloff = (np.hypot(u, v) + 1 / size) ** -rng.uniform(1.2, 2.0)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * falloff
    plane = np.fft.irfft2(spectrum, (size, size))
    plane = (plane - plane.mean()) / (plane.std() + 1e-9)
    mix = 1 / (1 + np.exp(-plane * rng.uniform(0.8, 3)))[..., None]
    return (gradient(size, rng) * mix + gradient(size, rng) * (1 - mix)).astype(np.float32)


def stripes(size: int, rng: np.random.Generator) -> Floats:
    """Gratings and checks with a bend in them."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(5, 40)
    bend = rng.uniform(0, 6) * np.sin(y * rng.uniform(0.02, 0.1))
    wave = np.sin((x * math.cos(angle) + y * math.sin(angle) + bend) * (2 * math.pi / period))
    if rng.random() < 0.4:
        wave = wave * np.sin((y * math.cos(angle) - x * math.sin(angle)) * (2 * math.pi / period))
    mix = np.clip(wave * rng.uniform(1, 6) * 0.5 + 0.5, 0, 1)[..., None]
    return (gradient(size, rng) * mix + gradient(size, rng) * (1 - mix)).astype(np.float32)


def shapes(size: int, rng: np.random.Generator) -> Floats:
    """Polygons, ellipses and lines in flat colours: illustrations, logos, diagrams."""
    canvas = gradient(size, rng) if rng.random() < 0.5 else np.full((size, size, 3), _colour(rng), np.float32)
    for _ in range(int(rng.integers(3, 25))):
        choice, colour = rng.integers(3), _colour(rng)
        points = rng.integers(-10, size + 10, (int(rng.integers(3, 7)), 2)).astype(np.int32)
        if choice == 0:
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA)
        elif choice == 1:
            axes = tuple(int(v) for v in rng.integers(3, size // 3 + 4, 2))
            centre = (int(points[0, 0]), int(points[0, 1]))
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            cv2.polylines(canvas, [points], rng.random() < 0.5, colour, int(rng.integers(1, 5)), cv2.LINE_AA)
    return canvas


_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789&?!.,"
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def text(size: int, rng: np.random.Generator) -> Floats:
    """Lines of letters on a ground."""
    canvas = to_uint8((gradient, shapes, texture)[rng.integers(3)](size, rng))
    baseline = int(rng.integers(8, 24))
    while baseline < size + 20:
        scale = float(rng.uniform(0.3, 1.6))
        letters = "".join(rng.choice(list(_LETTERS), int(rng.integers(4, 20))))
        place, thickness = (int(rng.integers(-20, size // 2)), baseline), int(1 + scale * rng.uniform(0.6, 2))
        cv2.putText(
            canvas, letters, place, _FONTS[rng.integers(len(_FONTS))], scale, _colour(rng), thickness, cv2.LINE_AA
        )
        baseline += int(scale * 24 + rng.integers(6, 30))
    return canvas.astype(np.float32)


_SCENES = (dead_leaves, dead_leaves, texture, stripes, shapes, text, gradient)


def scene(size: int, rng: np.random.Generator) -> Image:
    """One scene by chance, (size, size, 3) uint8."""
    return to_uint8(_SCENES[rng.integers(len(_SCENES))](size, rng))
