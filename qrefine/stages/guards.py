"""What can be said against a repair without a network, on the judge's cells of 16 x 16 pixels. Pure.

A change that nobody can see is no repair; a repair does not move the mean colour of a cell. Planes of cells have
the shape (ceil(h / cell), ceil(w / cell)); what an image lacks of its last cells is left out of their means.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.quality.map import Image, Plane
from qrefine.quality.pixels import Flags, difference

VISIBLE = 3
"""Levels by which a block of BLOCK x BLOCK pixels must differ on average, or nobody sees it."""

BLOCK = 4

SPECK = 12
"""Levels by which a single pixel must differ to be seen by itself: a star, a speck."""

ROOM = 3.0
"""A backend that draws anew at full strength may move the mean colour by this much more, as a factor less one."""


def check_pair(before: Image, after: Image) -> bool:
    """Whether a result holds numbers that are finite. Raises ValueError where it is no image of the same size."""
    if after.shape != before.shape:
        raise ValueError(f"an image of {before.shape[:2]} came back as one of {after.shape[:2]}")
    return bool(np.isfinite(after).all()) if after.dtype.kind == "f" else True


def visible(before: Image, after: Image, cell: int) -> Flags:
    """Cells in which somebody would see a change: a block moved by VISIBLE levels, or a pixel by SPECK."""
    moved = difference(before, after)
    specks = cell_max(moved, cell) >= SPECK
    if cell % BLOCK:
        return specks | (cell_max(moved, cell) >= VISIBLE)
    return specks | (cell_max(cell_mean(moved, BLOCK), cell // BLOCK) >= VISIBLE)


def colour_moved(before: Image, after: Image, cell: int) -> Plane:
    """Levels by which each cell's mean colour moved, in the channel that moved most."""
    moved = after.astype(np.float32) - before
    means = [np.abs(cell_mean(moved[..., channel], cell)) for channel in range(moved.shape[2])]
    return np.maximum.reduce(means)


def colour_limit(strength: Plane | None, most: float, cell: int, cells: tuple[int, int]) -> Plane:
    """Levels by which each cell's mean colour may move.

    ``most`` for backends that mend what they see; with the ``strength`` (h, w) of those that draw it rises to
    (1 + ROOM) ``most`` where the cell's greatest is 1.
    """
    if strength is None:
        return np.full(cells, most, dtype=np.float32)
    return (most * (1 + ROOM * cell_max(strength, cell))).astype(np.float32)


def cell_max(plane: NDArray[Any], cell: int) -> NDArray[Any]:
    """The greatest value of each cell, of flags whether one is true; (h, w) -> cells, of the same type."""
    rows, columns = (np.arange(0, length, cell) for length in plane.shape)
    return np.maximum.reduceat(np.maximum.reduceat(plane, rows, axis=0), columns, axis=1)


def cell_mean(plane: NDArray[Any], cell: int) -> NDArray[np.float32]:
    """The mean of each cell, over the pixels that there are; (h, w) -> cells."""
    rows, columns = (np.append(np.arange(0, length, cell), length) for length in plane.shape)
    until = cv2.integral(plane, sdepth=cv2.CV_64F)[np.ix_(rows, columns)]  # sums of all that is above and left
    return (np.diff(np.diff(until, axis=0), axis=1) / np.outer(np.diff(rows), np.diff(columns))).astype(np.float32)


def cell_pixels(cells: Flags, height: int, width: int, cell: int) -> Flags:
    """The pixels of the cells that are true, (height, width)."""
    return cells.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
