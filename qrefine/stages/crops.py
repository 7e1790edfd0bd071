"""Defects as crops: models run on the damaged regions, not on the whole image.

A backend that takes any size gets the defect's box with context. A backend with `FixedSizes` gets windows of the
image at the sizes that its network knows (`windows`), and its result is brought back to the image's resolution.

Invariants (tests/stages/test_crops.py holds them as properties):

- the boxes of an image's defects are disjoint and cover every pixel of strength > 0;
- a pixel of strength 0 keeps its value exactly, whatever the backend returns there;
- a pixel that the backend left alone keeps its value exactly, whatever it was scaled by;
- crops are cut from the input image: no crop sees the result of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image

from qrefine.models.base import FixedSizes, Restorer
from qrefine.quality.map import Image, Plane
from qrefine.quality.pixels import blend, differs
from qrefine.stages.boxes import WHOLE, Box, defect_boxes
from qrefine.stages.windows import Crop, Size, area, plain, windows

ZOOMED = 4.0  # enlarged crops may cost as many whole passes; beyond, the whole image is shown
SHOWS_MOST = 0.5  # of the image: a window that shows more gets its prompt
SEED_STRIDE = 0x9E3779B97F4A7C15  # crops of one image draw different noise
SEED_LIMIT = 1 << 63
LANCZOS = PIL.Image.Resampling.LANCZOS


def defect_crops(strength: Plane, restorer: Restorer) -> list[Crop]:
    """The crops of an image for ``restorer``; empty if no pixel has strength > 0."""
    if not isinstance(restorer, FixedSizes):
        return [plain(box) for box in defect_boxes(strength, restorer.context)]
    boxes = defect_boxes(strength, restorer.context, align=1)  # the sizes define the shapes
    if not boxes:
        return []
    height, width = strength.shape
    enlarges = restorer.crop_area == "native"

    def shown(box: Box) -> list[Crop]:
        if not restorer.buckets:
            return [plain(box)]
        found = windows(box, height, width, restorer.buckets, enlarges)
        return [crop for crop in found if strength[crop.box.pixels].any()]

    whole = shown(Box(0, 0, height, width))
    if restorer.whole:
        return whole
    crops = [crop for box in boxes for crop in shown(box)]
    return whole if _cost(crops) > (ZOOMED if enlarges else WHOLE) * _cost(whole) else crops


def fed_pixels(strength: Plane, restorer: Restorer) -> int:
    """Pixels that ``restorer`` is given for an image of this strength: what a pass costs."""
    return _cost(defect_crops(strength, restorer))


def paste_weight(strength: Plane, feather: float) -> Plane:
    """0 where the strength is 0, rising to 1 over ``feather`` pixels inside (h, w); image borders are ignored.

    In a region that is narrower it rises over half of the way to the middle, so that its middle is repaired, too.
    """
    active = strength > 0
    if feather <= 1 or active.all():
        return active.astype(np.float32)
    distance = cv2.distanceTransform(active.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    count, regions = cv2.connectedComponents(active.astype(np.uint8), connectivity=8)
    reach = np.zeros(count, np.float32)
    np.maximum.at(reach, regions.ravel(), distance.ravel())
    reach[0] = feather
    return np.clip(distance / np.minimum(feather, reach / 2)[regions], 0, 1).astype(np.float32)


def restore_defects(
    restorer: Restorer,
    images: Sequence[Image],
    strengths: Sequence[Plane],
    prompts: Sequence[str],
    seeds: Sequence[int],
    words: Sequence[str] | None = None,
) -> list[Image]:
    """Run ``restorer`` on the crops of all images in one call and put them back.

    ``words`` replace an image's prompt for windows that show little of it, as the backend's ``crop_prompt`` says.
    """
    words = prompts if words is None else words
    jobs = [
        (i, k, crop) for i, plane in enumerate(strengths) for k, crop in enumerate(defect_crops(plane, restorer))
    ]
    if not jobs:
        return list(images)
    shown = [_shown(images[i], crop) for i, _, crop in jobs]
    restored = restorer(
        shown,
        [_strength_in(strengths[i], crop) for i, _, crop in jobs],
        [_text(restorer, crop, strengths[i].size, prompts[i], words[i]) for i, _, crop in jobs],
        [(seeds[i] + k * SEED_STRIDE) % SEED_LIMIT for i, k, _ in jobs],
    )
    feather = restorer.feather if isinstance(restorer, FixedSizes) else 0.0
    results = list(images)
    for (i, _, crop), given, pixels in zip(jobs, shown, restored, strict=True):
        if results[i] is images[i]:
            results[i] = images[i].copy()
        _lay(results[i], crop, given, pixels)
    for i in {i for i, _, _ in jobs}:
        weight = paste_weight(strengths[i], feather)
        for box in {crop.defect for j, _, crop in jobs if j == i}:
            part = box.pixels
            results[i][part] = blend(images[i][part], results[i][part], weight[part])
    return results


def _text(restorer: Restorer, crop: Crop, pixels: int, prompt: str, words: str) -> str:
    how = restorer.crop_prompt if isinstance(restorer, FixedSizes) else "full"
    if how == "auto":
        how = "full" if crop.window.area > SHOWS_MOST * pixels else "words"
    return {"full": prompt, "words": words, "none": ""}[how]


def _shown(image: Image, crop: Crop) -> Image:
    """The window's pixels, scaled and filled up to the crop's size."""
    pixels = _resize(image[crop.window.pixels], crop.inner)
    return np.pad(pixels, (*_missing(crop), (0, 0)), mode="symmetric") if crop.inner != crop.size else pixels


def _strength_in(plane: Plane, crop: Crop) -> Plane:
    """The strengths for the backend: only those of the crop's defect; others in the window are context."""
    top, left = crop.window.top, crop.window.left
    own = np.zeros((crop.window.height, crop.window.width), np.float32)
    both = Box(
        max(top, crop.defect.top),
        max(left, crop.defect.left),
        min(crop.window.bottom, crop.defect.bottom),
        min(crop.window.right, crop.defect.right),
    )
    own[both.top - top : both.bottom - top, both.left - left : both.right - left] = plane[both.pixels]
    if crop.inner != own.shape:  # linear, so that no value overshoots
        own = np.clip(cv2.resize(own, crop.inner[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
    return np.pad(own, _missing(crop)) if crop.inner != crop.size else own


def _missing(crop: Crop) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, crop.size[0] - crop.inner[0]), (0, crop.size[1] - crop.inner[1])


def _lay(canvas: Image, crop: Crop, given: Image, restored: Image) -> None:
    """Write a crop's result over ``canvas``, where the backend changed what it was given."""
    tall, wide = crop.inner
    given, restored = given[:tall, :wide], restored[:tall, :wide]
    changed = differs(given, restored)
    if not changed.any():
        return
    size = (crop.window.height, crop.window.width)
    top, left = crop.box.top - crop.window.top, crop.box.left - crop.window.left
    inside = slice(top, top + crop.box.height), slice(left, left + crop.box.width)
    if crop.inner != size:
        changed = cv2.resize(changed.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0
    new = _resize(restored, size)[inside]
    weight = np.ones(new.shape[:2], np.float32)
    for axis, seam in enumerate(crop.seam):
        if seam:
            ramp = np.clip((np.arange(weight.shape[axis], dtype=np.float32) + 0.5) / seam, 0, 1)
            weight *= ramp[:, None] if axis == 0 else ramp
    canvas[crop.box.pixels] = blend(canvas[crop.box.pixels], new, weight * changed[inside])


def _resize(pixels: Image, size: Size) -> Image:
    """Lanczos, both ways: an image that is enlarged and brought back is 5 dB nearer to itself than by area."""
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(PIL.Image.fromarray(np.ascontiguousarray(pixels)).resize(size[::-1], LANCZOS))


def _cost(crops: Sequence[Crop]) -> int:
    return sum(area(crop.size) for crop in crops)
