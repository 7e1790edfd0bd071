"""The boxes of an image's defects: disjoint, each with some context around it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from qrefine.quality.map import Plane

ALIGN = 32  # borders are multiples of it: fewer distinct shapes, aligned with the grids of models
WHOLE = 0.7  # boxes that cover more than this share of an image are one


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
