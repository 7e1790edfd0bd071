"""A restorer without weights: OpenCV's denoising, deblocking and sharpening, guided by the strength map.

It repairs noise well, blocking a little and blur hardly: the baseline that learned backends must beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from qrefine.models.options import Options
from qrefine.quality.map import Image, Plane

NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)
SMALLEST = 8  # below this many pixels a side there is nothing to estimate from
MOST_NOISE = 40.0  # in 8-bit levels; beyond it the estimate is texture
BLUR_NOISE = 1.5  # a region this clean that still scores low is blurred, not noisy


def noise_level(image: Image) -> float:
    """Standard deviation of the noise, in 8-bit levels (Immerkaer, Fast Noise Variance Estimation, 1996)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    response = np.abs(cv2.filter2D(grey, -1, NOISE_KERNEL, borderType=cv2.BORDER_REFLECT))
    return float(np.median(response) / 0.6745 / 6)  # the median is robust to edges; 6 is the kernel's gain


class ClassicalRestorer:
    """Denoises as strongly as the crop is noisy, sharpens where it is clean; mixes by strength."""

    Options = Options  # none
    context = 16
    one_pass: Literal[True] = True

    def __init__(self, weights: str | None = None) -> None:
        if weights is not None:
            raise ValueError("the classical restorer has no weights")

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        return [_restore(image, plane) for image, plane in zip(images, strengths, strict=True)]


def _restore(image: Image, strength: Plane) -> Image:
    if min(image.shape[:2]) < SMALLEST or not strength.any():
        return image
    image = np.ascontiguousarray(image)
    sigma = min(noise_level(image), MOST_NOISE)
    if sigma > BLUR_NOISE:
        repaired = cv2.fastNlMeansDenoisingColored(image, None, float(sigma), float(sigma), 5, 15)
    else:
        smooth = cv2.bilateralFilter(image, 5, 12, 2)  # smooths block edges, keeps real ones
        repaired = cv2.addWeighted(smooth, 1.6, cv2.GaussianBlur(smooth, (0, 0), 1.5), -0.6, 0)
    w = strength[..., None]
    return np.rint(w * repaired + (1 - w) * image).astype(np.uint8)
