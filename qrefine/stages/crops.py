"""Defects as crops: models run on the damaged regions, not on the whole image.

A backend that takes any size gets the defect's box with context. A backend with `FixedSizes` gets a window around
that box in one of its buckets, at the image's own resolution if the bucket fits into the image.

Invariants (tests/stages/test_crops.py holds them as properties):

- the boxes of an image are disjoint and cover every pixel of strength > 0, so each pixel is written once;
- a pixel of strength 0 keeps its value exactly, whatever the backend returns there;
- crops are cut from the input image: no crop sees the result of another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from qrefine.models.base import FixedSizes, Restorer
from qrefine.quality.map import Image, Plane

ALIGN = 32  # crop borders are multiples of it: fewer distinct shapes, aligned with the grids of models
WHOLE = 0.7  # if crops cost more than this share of a whole pass, run that: it sees all of the image
SEED_STRIDE = 0x9E3779B97F4A7C15  # crops of one image draw different noise
SEED_LIMIT = 1 << 63

Size = tuple[int, int]
"""(height, width) in pixels."""


class Box(NamedTuple):
    """Pixels [top, bottom) x [left, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index of the box's pixels in an array of shape (h, w, ...)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def touches(self, other: Box) -> bool:
        return (
            self.top < other.bottom
            and other.top < self.bottom
            and self.left < other.right
            and other.left < self.right
        )

    def union(self, other: Box) -> Box:
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


class Crop(NamedTuple):
    """``box``: pixels written; ``window``: pixels that the backend sees; ``size``: size of the window there."""

    box: Box
    window: Box
    size: Size


def defect_boxes(strength: Plane, context: int, align: int = ALIGN) -> list[Box]:
    """Disjoint boxes that cover every pixel of strength > 0 with ``context`` pixels around, clipped to the image.

    Their borders are multiples of ``align``. Boxes that touch are joined; if they cover most of the image the
    result is one box.
    """
    height, width = strength.shape
    count, _, stats, _ = cv2.connectedComponentsWithStats((strength > 0).astype(np.uint8), connectivity=8)
    boxes: list[Box] = []
    for left, top, w, h, _ in stats[1:count].tolist():
        box = Box(
            max(0, (top - context) // align * align),
            max(0, (left - context) // align * align),
            min(height, -(-(top + h + context) // align) * align),
            min(width, -(-(left + w + context) // align) * align),
        )
        boxes = _join(boxes, box)
    if sum(box.area for box in boxes) > WHOLE * height * width:
        return [Box(0, 0, height, width)]
    return sorted(boxes)


def defect_crops(strength: Plane, restorer: Restorer) -> list[Crop]:
    """The crops of an image for ``restorer``; empty if no pixel has strength > 0."""
    if not isinstance(restorer, FixedSizes):
        boxes = defect_boxes(strength, restorer.context)
        return [Crop(box, box, (box.height, box.width)) for box in boxes]
    boxes = defect_boxes(strength, restorer.context, align=1)  # the buckets define the shapes
    height, width = strength.shape
    everything = Box(0, 0, height, width)
    if not boxes:
        return []
    if restorer.whole:
        return [Crop(everything, everything, _nearest(everything, restorer.buckets))]
    crops = [fit(box, height, width, restorer.buckets) for box in boxes]
    whole = fit(everything, height, width, restorer.buckets)
    if sum(_area(crop.size) for crop in crops) > WHOLE * _area(whole.size) and not _shrinks(whole):
        return [whole]
    return crops


def fit(box: Box, height: int, width: int, buckets: Sequence[Size]) -> Crop:
    """The bucket that shows ``box`` with the least resampling, then the cheapest; and the window it shows.

    If a bucket fits into the image, the window has the bucket's size, unscaled. Otherwise the box grows to the
    bucket's shape as far as the image allows, and the window is resized.
    """
    crops = [Crop(box, _window(box, height, width, size), size) for size in buckets]
    return min(crops, key=_cost)


def _cost(crop: Crop) -> tuple[float, float, int, Size]:
    tall, wide = crop.window.height / crop.size[0], crop.window.width / crop.size[1]
    shrink = max(0.0, math.log2(max(tall, wide)))  # detail that the backend never sees
    distortion = abs(math.log2(tall / wide))
    return round(shrink, 2), round(distortion, 2), _area(crop.size), crop.size


def _window(box: Box, height: int, width: int, size: Size) -> Box:
    tall, wide = size
    if not (box.height <= tall <= height and box.width <= wide <= width):
        tall = min(height, max(box.height, math.ceil(box.width * size[0] / size[1])))
        wide = min(width, max(box.width, math.ceil(box.height * size[1] / size[0])))
    top = min(max(0, (box.top + box.bottom - tall) // 2), height - tall)
    left = min(max(0, (box.left + box.right - wide) // 2), width - wide)
    return Box(top, left, top + tall, left + wide)


def _nearest(box: Box, buckets: Sequence[Size]) -> Size:
    """The size for a whole image: the best bucket, or its own size if there are no buckets."""
    return fit(box, box.height, box.width, buckets).size if buckets else (box.height, box.width)


def _shrinks(crop: Crop) -> bool:
    return crop.window.height > crop.size[0] or crop.window.width > crop.size[1]


def _area(size: Size) -> int:
    return size[0] * size[1]


def _join(boxes: list[Box], box: Box) -> list[Box]:
    """``boxes`` (disjoint) with ``box`` added and joined with all boxes that it touches; disjoint again."""
    apart: list[Box] = []
    pending = list(boxes)
    while pending:
        other = pending.pop()
        if box.touches(other):
            box = box.union(other)  # it grew: what was apart may touch now
            pending, apart = pending + apart, []
        else:
            apart.append(other)
    return [*apart, box]


def paste_weight(strength: Plane, feather: float) -> Plane:
    """0 where the strength is 0, rising to 1 over ``feather`` pixels inside (h, w); image borders are ignored."""
    active = strength > 0
    if feather <= 1 or active.all():
        return active.astype(np.float32)
    distance = cv2.distanceTransform(active.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.clip(distance / feather, 0, 1).astype(np.float32)


def restore_defects(
    restorer: Restorer,
    images: Sequence[Image],
    strengths: Sequence[Plane],
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> list[Image]:
    """Run ``restorer`` on the crops of all images in one call and put them back.

    A pixel of strength 0 keeps its value exactly, whatever the restorer returns there.
    """
    jobs = [
        (i, k, crop) for i, plane in enumerate(strengths) for k, crop in enumerate(defect_crops(plane, restorer))
    ]
    if not jobs:
        return list(images)
    restored = restorer(
        [_resize(images[i][crop.window.pixels], crop.size) for i, _, crop in jobs],
        [_strength_in(strengths[i], crop) for i, _, crop in jobs],
        [prompts[i] for i, _, _ in jobs],
        [(seeds[i] + k * SEED_STRIDE) % SEED_LIMIT for i, k, _ in jobs],
    )
    feather = restorer.feather if isinstance(restorer, FixedSizes) else 0.0
    weights = {i: paste_weight(strengths[i], feather) for i in {i for i, _, _ in jobs}}
    results = list(images)
    for (i, _, crop), pixels in zip(jobs, restored, strict=True):
        if results[i] is images[i]:
            results[i] = images[i].copy()
        box, window = crop.box, crop.window
        inside = Box(
            box.top - window.top, box.left - window.left, box.bottom - window.top, box.right - window.left
        )
        new = _resize(pixels, (window.height, window.width))[inside.pixels]
        results[i][box.pixels] = _blend(images[i][box.pixels], new, weights[i][box.pixels])
    return results


def _strength_in(plane: Plane, crop: Crop) -> Plane:
    """The strengths for the backend: only those of the crop's box; other defects in the window are context."""
    if crop.box == crop.window:
        return _resize(plane[crop.window.pixels], crop.size)
    own = np.zeros_like(plane)
    own[crop.box.pixels] = plane[crop.box.pixels]
    return np.clip(_resize(own[crop.window.pixels], crop.size), 0, 1)


def _resize(pixels: np.ndarray, size: Size) -> np.ndarray:
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    shrinks = size[0] * size[1] < height * width
    if pixels.ndim == 2:  # strengths: linear, so that no value overshoots
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    else:
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(pixels), (size[1], size[0]), interpolation=how)


def _blend(old: Image, new: Image, weight: Plane) -> Image:
    w = weight[..., None]
    if ((weight == 0) | (weight == 1)).all():  # nothing to blend: ten times as fast
        return np.where(w > 0, new, old)
    mixed = np.rint(w * new + (1 - w) * old.astype(np.float32)).astype(np.uint8)
    return np.where(w > 0, mixed, old)
