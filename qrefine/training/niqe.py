"""NIQE: how far an image's local statistics lie from those of clean photographs (Mittal et al., SPL 2013).

A judge that needs no scores and no weights: fitted here to the clean training photographs. No training loss and
no decision of the refiner uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gamma

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.quality.map import Image

_PATCH = 96
_SHAPES = np.arange(0.2, 10, 0.001)
_RATIOS = np.array([gamma(2 / a) ** 2 / (gamma(1 / a) * gamma(3 / a)) for a in _SHAPES.tolist()])
_SHARPEST = 0.75
"""Only patches at or above this share of the sharpest one describe a clean photograph, as in the paper."""


@dataclass(frozen=True)
class Niqe:
    """The multivariate Gaussian of clean patches: ``mean`` (36,) and ``covariance`` (36, 36)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def __call__(self, image: Image) -> float:
        """NIQE of one RGB image, lower is better; NaN for images below two patches of 96 px."""
        features, _ = _features(image)
        if len(features) < 2:
            return float("nan")
        mean, covariance = features.mean(0), np.cov(features.T)
        apart = self.mean - mean
        return float(np.sqrt(apart @ np.linalg.pinv((self.covariance + covariance) / 2) @ apart))


def fit_niqe(photos: Sequence[Image]) -> Niqe:
    """NIQE with ``photos`` (RGB, clean) as the measure of what is natural."""
    kept = []
    for photo in photos:
        features, sharpness = _features(photo)
        if len(features):
            kept.append(features[sharpness >= _SHARPEST * sharpness.max()])
    clean = np.concatenate(kept)
    return Niqe(clean.mean(0), np.cov(clean.T))


def _features(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(patches, 36) statistics at two scales, and each patch's sharpness."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    rows, columns = grey.shape[0] // _PATCH, grey.shape[1] // _PATCH
    grey = grey[: rows * _PATCH, : columns * _PATCH]
    if not grey.size:
        return np.empty((0, 36)), np.empty(0)
    scales, sharpness = [], np.empty(0)
    for size in (_PATCH, _PATCH // 2):
        normal, deviation = _normalised(grey)
        blocks = _blocks(normal, size)
        scales.append(np.stack([_statistics(block) for block in blocks]))
        if size == _PATCH:
            sharpness = _blocks(deviation, size).mean((1, 2))
        grey = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.concatenate(scales, 1), sharpness


def _normalised(grey: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean-subtracted, contrast-normalised luma, and the local deviation."""
    mean = cv2.GaussianBlur(grey, (7, 7), 7 / 6)
    deviation = np.sqrt(np.abs(cv2.GaussianBlur(grey * grey, (7, 7), 7 / 6) - mean * mean))
    return (grey - mean) / (deviation + 1), deviation


def _blocks(plane: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    cut = plane[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return cut.transpose(0, 2, 1, 3).reshape(-1, size, size)


def _statistics(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eighteen: the law of the values, and of their products with four neighbours."""
    shape, left, right = _asymmetric_law(block)
    found = [shape, (left + right) / 2]
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _asymmetric_law(block * np.roll(block, (dy, dx), (0, 1)))
        mean = (right - left) * gamma(2 / shape) / gamma(1 / shape)
        found += [shape, mean, left, right]
    return np.array(found)


def _asymmetric_law(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Shape and the two spreads of an asymmetric generalised Gaussian, by its moments."""
    below, above = values[values < 0], values[values > 0]
    left = np.sqrt((below**2).mean()) if below.size else 1e-6
    right = np.sqrt((above**2).mean()) if above.size else 1e-6
    ratio = left / right
    moments = np.abs(values).mean() ** 2 / max((values**2).mean(), 1e-12)
    target = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = float(_SHAPES[np.argmin((_RATIOS - target) ** 2)])
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, float(left * scale), float(right * scale)
