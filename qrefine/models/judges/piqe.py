"""PIQE, the default judge (Venkatanath et al., NCC 2015). It needs no weights and marks damaged blocks.

Results equal those of the package `pypiqe`; the tests compare both. `pypiqe` loops over blocks in Python; here all
blocks are one array, which takes a tenth of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from qrefine.quality.map import Image

BLOCK = 16  # pixels a side
SEGMENT = 6  # length in pixels of the edge segments
ACTIVE = 0.1  # variance above which a block is spatially active
IMPAIRED = 0.1  # deviation below which a segment is unnaturally flat

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
    """The blocks of an RGB image, mirrored to the right and below to whole blocks."""
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
    """The image, scaled to a maximum of 255, minus the local mean, divided by the local standard deviation."""
    height, width = grey.shape
    grey = np.pad(grey, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="symmetric")
    pixels = np.round(255 * (grey / max(1, grey.max())))
    mean = _blurred(pixels)
    deviation = np.sqrt(np.abs(_blurred(pixels * pixels) - mean * mean))
    return (pixels - mean) / (deviation + 1)


def _blurred(pixels: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(pixels, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE))


def _has_flat_edge(blocks: Floats) -> Flags:
    """Which blocks have a segment of an edge that is nearly constant: a sign of block coding."""
    borders = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], 1)
    segments = sliding_window_view(borders, SEGMENT, axis=2)
    return np.asarray((_variance(segments, (3,)) < IMPAIRED**2).any((1, 2)))


def _is_noise(blocks: Floats, deviation: Floats) -> Flags:
    """Which blocks vary at their centre as they do around it, as noise does and structure does not."""
    middle = BLOCK // 2
    centre = blocks[:, :, [middle - 1, middle]]
    # the second column left out is one too far to the right, as in the common implementations
    around = np.delete(blocks, [middle - 1, middle + 1], axis=2)
    inner, outer = (np.sqrt(_variance(part, (1, 2))) for part in (centre, around))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((inner == 0) & (outer == 0), 0.0, inner / outer)
        return np.asarray(deviation > 2 * np.abs(deviation - ratio) / np.maximum(deviation, ratio))


def _variance(values: Floats, axes: tuple[int, ...]) -> Floats:
    return np.asarray(np.var(values, axis=axes, ddof=1))
