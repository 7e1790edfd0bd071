"""Changes that do no harm to quality: the label of a clean image stays 0 under them.

They widen what "clean" means, so that a mapper does not raise alarms over a soft light, a black-and-white
picture, a palette file or a good JPEG. Tone changes come before damage; finishing touches only on clean images.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image as PIL

from qrefine.quality.map import Image
from qrefine.training.degradations import _jpeg
from qrefine.training.scale import to_uint8


def tone(image: Image, rng: np.random.Generator) -> Image:
    """Another light: exposure, contrast, saturation, white balance; sometimes black and white."""
    values = image.astype(np.float32) / 255
    if rng.random() < 0.5:
        values = values ** np.float32(np.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.3:
        values = (values - 0.5) * np.float32(rng.uniform(0.6, 1.15)) + 0.5
    if rng.random() < 0.5:
        grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
        saturation = 0.0 if rng.random() < 0.15 else rng.uniform(0.4, 1.5)
        values = grey[..., None] + np.float32(saturation) * (values - grey[..., None])
    if rng.random() < 0.3:
        values = values * rng.normal(1, 0.06, 3).astype(np.float32)
    return to_uint8(values * 255)


def finish(image: Image, rng: np.random.Generator) -> Image:
    """Traces too faint to mind: a JPEG of quality 92 or more, noise of one level, a palette, slight sharpening."""
    choice = rng.integers(4)
    if choice == 0:
        return _jpeg(image, int(rng.integers(92, 99)), rng)
    if choice == 1:
        return to_uint8(image + rng.normal(0, rng.uniform(0.3, 1.3), image.shape))
    if choice == 2:
        dither = PIL.Dither.FLOYDSTEINBERG if rng.random() < 0.5 else PIL.Dither.NONE
        palette = PIL.fromarray(image).quantize(int(rng.integers(128, 257)), dither=dither)
        return np.asarray(palette.convert("RGB"))
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.6, 1.2)).astype(np.float32)
    return to_uint8(image + np.float32(rng.uniform(0, 0.25)) * (image - soft))
