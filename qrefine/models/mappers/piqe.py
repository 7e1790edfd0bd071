"""PIQE, without weights: a block map as mapper, and the default judge (Venkatanath et al., NCC 2015).

The answers are those of the package `pypiqe`, with which the tests compare them. That goes through an image block
by block in Python; here all blocks are one array, which takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import edges

BLOCK = 16  # pixels a side
SEGMENT = 6  # pixels of a block's edge that are looked at together
ACTIVE = 0.1  # variance above which a block draws the eye
IMPAIRED = 0.1  # deviation below which a segment is flatter than nature

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def piqe_score(image: Image) -> float:
    """PIQE of one RGB image, 0 (excellent) to 100 (bad). An image without one active block scores 100."""
    found = piqe_blocks(image)
    distortion = found.variance[found.blocky]
    noise = found.variance[found.noisy]
    return float(((1 - distortion).sum() + noise.sum() + 1) / (np.count_nonzero(found.active) + 1) * 100)


class PiqeBlocks(NamedTuple):
    """What PIQE finds in each block of 16 x 16 pixels, (ceil(h / 16), ceil(w / 16)).

    Only active blocks are blocky or noisy.
    """

    variance: Floats  # of the pixels normalised by the contrast around them
    active: Flags
    blocky: Flags
    noisy: Flags


def piqe_blocks(image: Image) -> PiqeBlocks:
    """The blocks of an RGB image, which is mirrored to the right and below up to whole blocks."""
    normalised = _normalised(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY))
    rows, columns = (size // BLOCK for size in normalised.shape)
    blocks = normalised.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    variance = _variance(blocks, (1, 2)).reshape(rows, columns)
    active = variance > ACTIVE
    eyed = blocks[active.ravel()]
    blocky, noisy = np.zeros_like(active), np.zeros_like(active)
    blocky[active] = _has_flat_edge(eyed)
    noisy[active] = _is_noise(eyed, np.sqrt(variance[active]))
    return PiqeBlocks(variance, active, blocky, noisy)


def _normalised(grey: NDArray[np.uint8]) -> Floats:
    """The image, its brightest pixel at 255, less the mean and over the deviation around each pixel."""
    height, width = grey.shape
    grey = np.pad(grey, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="symmetric")
    pixels = np.round(255 * (grey / max(1, grey.max())))
    mean = _blurred(pixels)
    deviation = np.sqrt(np.abs(_blurred(pixels * pixels) - mean * mean))
    return (pixels - mean) / (deviation + 1)


def _blurred(pixels: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(pixels, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE))


def _has_flat_edge(blocks: Floats) -> Flags:
    """Which blocks have a segment of an edge that is all but constant: the mark of block coding."""
    borders = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], 1)
    segments = sliding_window_view(borders, SEGMENT, axis=2)
    return np.asarray((_variance(segments, (3,)) < IMPAIRED**2).any((1, 2)))


def _is_noise(blocks: Floats, deviation: Floats) -> Flags:
    """Which blocks vary at their centre as they do around it, as noise does and structure does not."""
    middle = BLOCK // 2
    centre = blocks[:, :, [middle - 1, middle]]
    # the second column that is left out is one too far to the right, as in the implementations that are in use
    around = np.delete(blocks, [middle - 1, middle + 1], axis=2)
    inner, outer = (np.sqrt(_variance(part, (1, 2))) for part in (centre, around))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((inner == 0) & (outer == 0), 0.0, inner / outer)
        return np.asarray(deviation > 2 * np.abs(deviation - ratio) / np.maximum(deviation, ratio))


def _variance(values: Floats, axes: tuple[int, ...]) -> Floats:
    return np.asarray(np.var(values, axis=axes, ddof=1))


class PiqeMapper:
    """1 - the share of each patch's pixels that PIQE marks as blocky or noisy; in [0, 1].

    PIQE looks at blocks of 16 pixels and sees no blur: flat and smooth patches count as good. It stays as the
    option that needs no weights; the embedded network knows far more.
    """

    def __init__(self, weights: str | None = None, grid: int = 16) -> None:
        if weights is not None:
            raise ValueError("the piqe mapper has no weights")
        self.grid = grid

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        return [self._map(image) for image in images]

    def _map(self, image: Image) -> QualityMap:
        height, width = image.shape[:2]
        found = piqe_blocks(image)
        damage = (found.blocky | found.noisy).repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
        total = np.zeros((height + 1, width + 1))  # integral image: patch means without a loop
        total[1:, 1:] = damage.cumsum(0).cumsum(1)
        top, left = (np.minimum(edges(size, self.grid)[:-1], size - 1) for size in (height, width))
        bottom, right = (
            np.maximum(edges(size, self.grid)[1:], start + 1) for size, start in ((height, top), (width, left))
        )
        area = np.outer(bottom - top, right - left)
        inside = total[np.ix_(bottom, right)] - total[np.ix_(top, right)] - total[np.ix_(bottom, left)]
        mean = (inside + total[np.ix_(top, left)]) / area
        return QualityMap(np.clip(1 - mean, 0, 1).astype(np.float32))
