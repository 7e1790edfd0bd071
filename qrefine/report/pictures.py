"""Pictures to show: thumbnails within a byte limit, map overlays, the most changed region at full size."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
import PIL.Image

from qrefine.quality.map import Image, Plane, QualityMap
from qrefine.quality.regions import coarse, flatten

SIDE = 512  # of a thumbnail, at most
DETAIL = 288  # of the region shown pixel by pixel
OVERLAY = 96  # of a map's picture; the browser enlarges it smoothly
QUALITIES = (85, 75, 60, 45, 30)  # WebP's, tried in turn
LOW = np.array([214, 40, 29], dtype=np.uint8)  # the colour of low quality
MOST_OPAQUE = 0.65


def thumbnail(image: Image, side: int = SIDE) -> Image:
    """The image within ``side`` x ``side``, never enlarged."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def data_uri(image: Image, most_bytes: int) -> str:
    """A WebP data URI of at most ``most_bytes`` image bytes: quality is lowered first, then size."""
    while True:
        for quality in QUALITIES:
            out = io.BytesIO()
            PIL.Image.fromarray(image).save(out, "WEBP", quality=quality, method=2)
            if out.tell() <= most_bytes or max(image.shape[:2]) <= 16:
                return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
        image = thumbnail(image, max(16, int(max(image.shape[:2]) * 0.75)))


def overlay(quality: QualityMap) -> str:
    """The map as a PNG data URI to lay over its image: red where quality is low, clear where it is high."""
    plane = flatten(coarse(quality, OVERLAY), OVERLAY, OVERLAY)  # keeps one poor patch among many visible
    rgba = np.empty((OVERLAY, OVERLAY, 4), dtype=np.uint8)
    rgba[..., :3] = LOW
    rgba[..., 3] = np.rint((1 - plane) * MOST_OPAQUE * 15) * (255 // 15)  # few levels: a small file
    out = io.BytesIO()
    PIL.Image.fromarray(rgba).save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def map_over(image: Image, quality: QualityMap) -> Image:
    """The same overlay as pixels, over a grey image."""
    weight = ((1 - flatten(quality, *image.shape[:2])) * MOST_OPAQUE)[..., None]
    grey = image.mean(axis=-1, keepdims=True)
    return np.rint(weight * LOW + (1 - weight) * grey).astype(np.uint8)


def most_changed(before: Image, after: Image, side: int = DETAIL) -> tuple[slice, slice]:
    """The ``side`` x ``side`` window, clipped to the image, in which the two differ most."""
    height, width = before.shape[:2]
    rows, columns = min(side, height), min(side, width)
    change = np.abs(before.astype(np.int16) - after).sum(axis=-1).astype(np.float32)
    top, left = _best_window(change, rows, columns)
    return slice(top, top + rows), slice(left, left + columns)


def _best_window(change: Plane, rows: int, columns: int) -> tuple[int, int]:
    total = cv2.integral(change, sdepth=cv2.CV_64F)
    inside = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(top), int(left)
