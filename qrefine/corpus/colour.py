"""Colour spaces of images: what models see is sRGB, and what they made goes back to where it came from.

Conversion is by Little CMS in 8 bits: relative colorimetric, with black point compensation, as image editors do by
default. A profile that it cannot use counts as sRGB, as in browsers.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import PIL.Image
from PIL import ImageCms

from qrefine.corpus.icc import SRGB, SRGB_CURVE, grey_profile, rgb_profile
from qrefine.corpus.metadata import Metadata

CHANNELS = {"L": 1, "RGB": 3, "CMYK": 4, "LAB": 3}
_SAME = 2  # levels: profiles of sRGB by different makers differ by that much
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE  # threads share a transform
_TRANSFERS = {4: (2.2,), 5: (2.8,), 8: (1.0,), **dict.fromkeys((1, 2, 6, 13, 14, 15), SRGB_CURVE)}
_PRIMARIES = {
    1: SRGB,
    2: SRGB,
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (0.3127, 0.3290, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}


@dataclass(frozen=True)
class Space:
    """``mode``: L, RGB, CMYK or LAB. ``profile``: what embeds it in a file, None where nothing says. ``plain``:
    the values are sRGB's, whatever the profile is named."""

    mode: str
    profile: bytes | None = None
    plain: bool = True

    def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, c) uint8 in this space to (h, w, 3) uint8."""
        if self.plain and self.mode == "RGB":
            return pixels
        if self.plain:
            return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_GRAY2RGB))
        return _converted(pixels, self.mode, "RGB", _transform(self.mode, self.profile))

    def from_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 to (h, w, c) uint8 in this space."""
        if self.plain and self.mode == "RGB":
            return pixels
        back = None if self.plain else _transform(self.mode, self.profile, back=True)
        return _converted(pixels, "RGB", self.mode, back)


def space_of(mode: str, metadata: Metadata) -> Space:
    """The space of pixels in one of the modes, by what the file says: cICP, ICC, sRGB, gAMA, in this order."""
    if mode == "LAB":
        return Space(mode, plain=False)
    if b"cICP" not in metadata.colour and metadata.icc and _usable(mode, metadata.icc):
        return Space(mode, metadata.icc, _is_srgb(mode, metadata.icc))
    written = _written(mode, metadata.colour)
    if written is None or _is_srgb(mode, written):
        return Space(mode, plain=mode != "CMYK")
    return Space(mode, written, plain=False)


def _written(mode: str, colour: Mapping[bytes, bytes]) -> bytes | None:
    """A profile of what a PNG's colour chunks say; None for sRGB, and for what makes no sense."""
    try:
        if b"cICP" in colour:
            primaries, transfer = colour[b"cICP"][:2]
            return _made(mode, _PRIMARIES[primaries], _TRANSFERS[transfer])
        if b"sRGB" in colour or b"gAMA" not in colour:
            return None
        gamma = struct.unpack(">I", colour[b"gAMA"])[0] / 100_000
        chromaticities = SRGB
        if b"cHRM" in colour:
            chromaticities = tuple(value / 100_000 for value in struct.unpack(">8I", colour[b"cHRM"]))
        usual = 0.43 < gamma < 0.48 and max(abs(a - b) for a, b in zip(chromaticities, SRGB, strict=True)) < 0.005
        return None if usual or not 0.1 <= gamma <= 10 else _made(mode, chromaticities, (1 / gamma,))
    except (KeyError, ValueError, struct.error):
        return None


def _made(mode: str, chromaticities: tuple[float, ...], curve: tuple[float, ...]) -> bytes | None:
    if mode == "L":
        return grey_profile(curve)
    return rgb_profile(chromaticities, curve) if mode == "RGB" else None


@lru_cache(maxsize=16)
def _usable(mode: str, profile: bytes) -> bool:
    try:
        return _transform(mode, profile) is not None and _transform(mode, profile, back=True) is not None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return False


@lru_cache(maxsize=16)
def _is_srgb(mode: str, profile: bytes) -> bool:
    if mode not in ("L", "RGB"):
        return False
    if mode == "L":
        asked = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
    else:
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        asked = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    found = _converted(asked, mode, "RGB", _transform(mode, profile))
    return bool(np.abs(found.astype(int) - asked).max() <= _SAME)


@lru_cache(maxsize=16)
def _transform(mode: str, profile: bytes | None, back: bool = False) -> ImageCms.ImageCmsTransform | None:
    """From the space to sRGB or back; None for CMYK without a profile, which Pillow converts."""
    if profile is None and mode == "CMYK":
        return None
    srgb = ImageCms.createProfile("sRGB")
    own = ImageCms.createProfile("LAB") if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    if back:
        return ImageCms.buildTransform(srgb, own, "RGB", mode, intent, _FLAGS)
    return ImageCms.buildTransform(own, srgb, mode, "RGB", intent, _FLAGS)


def _converted(
    pixels: np.ndarray, mode: str, wanted: str, transform: ImageCms.ImageCmsTransform | None
) -> np.ndarray:
    height, width = pixels.shape[:2]
    image = PIL.Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
    made = image.convert(wanted) if transform is None else ImageCms.applyTransform(image, transform)
    assert made is not None  # it is None only where the image itself is changed
    return np.asarray(made).reshape(height, width, CHANNELS[wanted])
