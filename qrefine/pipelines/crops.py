"""Defects as crops: a model is paid for what is broken, not for the image around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from qrefine.models.base import Restorer
from qrefine.quality.map import Image, Plane

ALIGN = 32  # borders fall on multiples of it: fewer distinct shapes, and the grids of models line up
WHOLE = 0.7  # share of the image from which one pass over all of it is cheaper than its crops


class Box(NamedTuple):
    """Pixels [top, bottom) x [left, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

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


def defect_boxes(strength: Plane, context: int) -> list[Box]:
    """Disjoint boxes that hold every pixel of strength > 0 with ``context`` pixels around, clipped to the image.

    Boxes that touch are joined; where they cover most of the image it is one box.
    """
    height, width = strength.shape
    count, _, stats, _ = cv2.connectedComponentsWithStats((strength > 0).astype(np.uint8), connectivity=8)
    boxes: list[Box] = []
    for left, top, w, h, _ in stats[1:count].tolist():
        box = Box(
            max(0, (top - context) // ALIGN * ALIGN),
            max(0, (left - context) // ALIGN * ALIGN),
            min(height, -(-(top + h + context) // ALIGN) * ALIGN),
            min(width, -(-(left + w + context) // ALIGN) * ALIGN),
        )
        boxes = _join(boxes, box)
    if sum(box.area for box in boxes) > WHOLE * height * width:
        return [Box(0, 0, height, width)]
    return sorted(boxes)


def _join(boxes: list[Box], box: Box) -> list[Box]:
    """``boxes`` (disjoint) with ``box`` added, those that it touches joined with it; disjoint again."""
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


def restore_defects(
    restorer: Restorer,
    images: Sequence[Image],
    strengths: Sequence[Plane],
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> list[Image]:
    """Run ``restorer`` on the crops of all images in one call and put them back.

    A pixel of strength 0 keeps its value exactly, whatever the restorer gives there.
    """
    jobs = [(i, box) for i, plane in enumerate(strengths) for box in defect_boxes(plane, restorer.context)]
    if not jobs:
        return list(images)
    crops = restorer(
        [images[i][b.top : b.bottom, b.left : b.right] for i, b in jobs],
        [strengths[i][b.top : b.bottom, b.left : b.right] for i, b in jobs],
        [prompts[i] for i, _ in jobs],
        [seeds[i] for i, _ in jobs],
    )
    results = list(images)
    for (i, b), crop in zip(jobs, crops, strict=True):
        if results[i] is images[i]:
            results[i] = images[i].copy()
        old = images[i][b.top : b.bottom, b.left : b.right]
        active = strengths[i][b.top : b.bottom, b.left : b.right, None] > 0
        results[i][b.top : b.bottom, b.left : b.right] = np.where(active, crop, old)
    return results
