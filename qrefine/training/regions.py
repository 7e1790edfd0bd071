"""Where damage lies: soft-edged masks in [0, 1] over an image."""

from __future__ import annotations

import math

import cv2
import numpy as np

from qrefine.quality.map import Plane


def _ellipse(height: int, width: int, rng: np.random.Generator) -> Plane:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cy, cx = rng.uniform(0.1, 0.9) * height, rng.uniform(0.1, 0.9) * width
    ry, rx = rng.uniform(0.18, 0.5) * height, rng.uniform(0.18, 0.5) * width
    angle = rng.uniform(0, math.pi)
    u = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
    v = -(x - cx) * math.sin(angle) + (y - cy) * math.cos(angle)
    return ((u / rx) ** 2 + (v / ry) ** 2 < 1).astype(np.float32)


def _rectangle(height: int, width: int, rng: np.random.Generator) -> Plane:
    mask = np.zeros((height, width), np.float32)
    h, w = int(rng.uniform(0.3, 0.8) * height) + 1, int(rng.uniform(0.3, 0.8) * width) + 1
    top, left = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    mask[top : top + h, left : left + w] = 1
    return mask


def _side(height: int, width: int, rng: np.random.Generator) -> Plane:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    distance = (x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle)
    return (distance > rng.uniform(-0.25, 0.25)).astype(np.float32)


def _blob(height: int, width: int, rng: np.random.Generator) -> Plane:
    coarse = rng.standard_normal((6, 6)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (smooth > np.quantile(smooth, rng.uniform(0.4, 0.8))).astype(np.float32)


_SHAPES = (_ellipse, _rectangle, _side, _blob)


def soft_region(height: int, width: int, rng: np.random.Generator) -> Plane:
    """An ellipse, rectangle, half plane or blob, (height, width) in [0, 1].

    Its edge fades over up to a tenth of the shorter side; its peak is 1 unless the region is thinner than that.
    """
    mask = _SHAPES[rng.integers(len(_SHAPES))](height, width, rng)
    fade = rng.uniform(0, 0.035) * min(height, width)
    return cv2.GaussianBlur(mask, (0, 0), fade) if fade > 0.3 else mask
