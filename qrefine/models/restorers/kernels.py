"""Kernels of blur: a Gaussian, the disc of a lens out of focus, the line of a shake."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from qrefine.models.tiling import Floats

Shape = Literal["gaussian", "disc", "line"]

SIDE = 33
"""Pixels along a side of the window that holds a kernel, odd."""

SIZES: dict[Shape, tuple[float, float]] = {"gaussian": (0.5, 5.0), "disc": (1.0, 7.5), "line": (2.0, 26.0)}
"""Least and greatest size in pixels: a Gaussian's sigma, a disc's radius, a line's length."""

_FINE = 5  # samples across a pixel


@dataclass(frozen=True)
class Kernel:
    """``size``: see ``SIZES``. ``angle``: of a line in radians from the x axis towards the y axis, else 0."""

    shape: Shape
    size: float
    angle: float = 0.0

    def pixels(self) -> Floats:
        """(SIDE, SIDE), adding up to 1: what a point becomes. Discs and lines by the area that they cover."""
        if self.shape == "gaussian":
            place = np.arange(SIDE, dtype=np.float64) - SIDE // 2
            line = np.exp(-0.5 * (place / self.size) ** 2)
            found = np.outer(line, line)
        else:
            place = (np.arange(SIDE * _FINE) + 0.5) / _FINE - SIDE / 2
            fine = self._covers(place[:, None], place[None]).astype(np.float32)
            found = cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            found = found + found[::-1, ::-1]  # samples upon the rim may fall to either side
        return (found / found.sum()).astype(np.float32)

    def _covers(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        if self.shape == "disc":
            return np.hypot(y, x) <= self.size
        along = x * math.cos(self.angle) + y * math.sin(self.angle)
        across = y * math.cos(self.angle) - x * math.sin(self.angle)
        return (np.abs(along) <= self.size / 2) & (np.abs(across) <= 0.5)

    def transfer(self, height: int, width: int) -> np.ndarray:
        """The optical transfer function at the frequencies of ``numpy.fft.rfft2``, (height, width // 2 + 1)."""
        plane = np.zeros((height, width), np.float32)
        plane[:SIDE, :SIDE] = self.pixels()
        return np.fft.rfft2(np.roll(plane, (-(SIDE // 2), -(SIDE // 2)), (0, 1)))


def coarse() -> list[Kernel]:
    """Kernels close enough together that one of them lies near any other."""
    found = [Kernel("gaussian", float(size)) for size in np.geomspace(0.6, 4.8, 10)]
    found += [Kernel("disc", float(size)) for size in np.geomspace(1.2, 7.2, 18)]
    for length in np.geomspace(2.5, 24, 13):
        angles = round(min(24, max(6, 1.5 * length)))
        found += [Kernel("line", float(length), math.pi * turn / angles) for turn in range(angles)]
    return found


def near(kernel: Kernel, step: float) -> list[Kernel]:
    """The kernel and those beside it, their sizes by a factor of 1 + ``step`` apart."""
    low, high = SIZES[kernel.shape]
    sizes = [kernel.size * factor for factor in (1 / (1 + step), 1.0, 1 + step)]
    turn = 3.6 * step / max(1.0, kernel.size / 4) if kernel.shape == "line" else 0.0
    angles = sorted({(kernel.angle + by) % math.pi for by in (-turn, 0.0, turn)}) if turn else [0.0]
    return [Kernel(kernel.shape, size, angle) for size in sizes if low <= size <= high for angle in angles]


def parts(kernel: Kernel) -> list[Kernel]:
    """Lines of a half and a third of the length: their zeros are among those of the whole, which may hide them."""
    if kernel.shape != "line":
        return []
    sizes = [kernel.size / part for part in (2, 3)]
    return [Kernel("line", size, kernel.angle) for size in sizes if size >= SIZES["line"][0]]
