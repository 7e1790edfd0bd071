"""Damage to content for the evaluation: what is shown is in the wrong place. And the scale of severity."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def geometric(mild: float, ruined: float, severity: float) -> float:
    """The parameter at ``severity``: ``mild`` at 0, ``ruined`` at 1, in equal ratios between."""
    return float(mild * (ruined / mild) ** severity)


def to_uint8(values: NDArray[np.floating]) -> Image:
    """Values in 0..255, rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def colour_shift(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Colour planes that drift apart by 0.6 to 7 px, under a tint of 1 to 30 grey levels."""
    height, width, _ = image.shape
    reach, planes = geometric(0.6, 7, severity), []
    tint = rng.standard_normal(3) * geometric(1, 30, severity)
    angle = rng.uniform(0, 2 * math.pi)
    for channel, sign in enumerate((1.0, 0.0, -1.0)):
        dx, dy = sign * reach * math.cos(angle), sign * reach * math.sin(angle)
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        plane = np.ascontiguousarray(image[..., channel])
        planes.append(cv2.warpAffine(plane, move, (width, height), borderMode=cv2.BORDER_REFLECT_101))
    return to_uint8(np.stack(planes, -1) + tint)


def patch_swap(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Blocks of 8 to 24 px in the wrong place, as after lost motion vectors: each 1 to 40 px away from its own.

    All blocks are moved, for a block that is in the wrong place looks the same however many others are.
    """
    height, width, _ = image.shape
    result, size = image.copy(), int(rng.integers(8, 25))
    reach = geometric(1, 40, severity)
    for top in range(0, height, size):
        for left in range(0, width, size):
            h, w = min(size, height - top), min(size, width - left)
            angle = rng.uniform(0, 2 * math.pi)
            y = _within(top, round(reach * math.sin(angle)), height - h)
            x = _within(left, round(reach * math.cos(angle)), width - w)
            result[top : top + h, left : left + w] = image[y : y + h, x : x + w]
    return result


def _within(place: int, move: int, last: int) -> int:
    """``place`` moved, the other way where it would leave [0, last]."""
    moved = place + move if 0 <= place + move <= last else place - move
    return min(max(moved, 0), last)


def warp(image: Image, severity: float, rng: np.random.Generator) -> Image:
    """Wobbling shapes: a smooth displacement with a wavelength of 8 to 28 px that bends lines by 0.08 to 1.6.

    What is seen of a warp is how much it bends (the displacement's slope), not how far it moves.
    """
    height, width, _ = image.shape
    scale = rng.uniform(3, 9)
    field = cv2.GaussianBlur(rng.standard_normal((height, width, 2), dtype=np.float32), (0, 0), scale)
    slope = np.abs(np.diff(field, axis=0)).mean() + np.abs(np.diff(field, axis=1)).mean()
    field *= geometric(0.08, 1.6, severity) / (slope / 2 + 1e-9)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(
        image, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
