"""Inference of the embedded network on one image: in-place operations, and large images in tiles.

An image of one tile gets bit-identical results to the network itself. Tiles include a halo as wide as the
receptive field, so a large image gets the result of a single pass, up to the order of sums, while memory depends
on the tile, not on the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from qrefine.models.mappers.embedded_net import (
    MapperNet,
    Residual,
    band_energies,
    contrast_normalised,
    grey_levels,
)
from qrefine.models.mappers.lattice import lattice
from qrefine.models.mappers.roi import RoiPool
from qrefine.quality.map import Image

STRIDES = (8, 16, 16)  # pixels per cell of the fine and coarse features and of the periods
TILE = 2048  # pixels per side: 4 megapixels
ALIGN = 64  # tile borders are multiples of it
HALO = 192  # pixels: the network sees 184 of them around a cell


class Span(NamedTuple):
    """One axis of a tile: its own pixels [start, stop), and the pixels [first, last) that it reads."""

    start: int
    stop: int
    first: int
    last: int


def spans(length: int, tile: int = TILE) -> Iterator[Span]:
    """Tiles of about equal length, at most ``tile`` (a multiple of ALIGN), that cover [0, length)."""
    count = -(-length // tile)
    step = -(-length // (count * ALIGN)) * ALIGN
    for start in range(0, length, step):
        stop = min(start + step, length)
        yield Span(start, stop, max(0, start - HALO), min(length, stop + HALO))


@torch.inference_mode()
def patch_features(net: MapperNet, image: Image, n: int, device: torch.device, tile: int = TILE) -> Tensor:
    """The head's input for each patch, (1, n, n, 2c), from a `folded` network; see `MapperNet.patches`."""
    size = (image.shape[0], image.shape[1])
    padded = [-(-length // STRIDES[-1]) * STRIDES[-1] for length in size]
    pools = [RoiPool(stride, size, (padded[0] // stride, padded[1] // stride), n) for stride in STRIDES]
    for y, x in product(*(spans(length, tile) for length in size)):
        cells = _cells(image[y.first : y.last, x.first : x.last], device)
        for pool, stride, features in zip(pools, STRIDES, _features(net, cells), strict=True):
            rows, columns = (_inside(span, stride) for span in (y, x))
            pool.add(features[:, :, rows, columns].float(), y.start // stride, x.start // stride)
    return torch.cat([pool.result() for pool in pools], -1)


def _inside(span: Span, stride: int) -> slice:
    """The tile's own cells among the cells that it reads; the last tile also has the padding."""
    start = (span.start - span.first) // stride
    return slice(start, None if span.stop == span.last else (span.stop - span.first) // stride)


def _cells(image: Image, device: torch.device) -> Tensor:
    """Cells of 2 x 2 pixels, (1, 12, h, w) in [0, 1], mirrored up to multiples of 16 pixels."""
    below, right = (-length % STRIDES[-1] for length in image.shape[:2])
    if below or right:  # numpy's reflection repeats single rows and columns, as `_mirror` does
        image = np.pad(image, ((0, below), (0, right), (0, 0)), "reflect")
    height, width = image.shape[0] // 2, image.shape[1] // 2
    # rearranged as bytes, a quarter of the memory traffic, and by numpy: `pixel_unshuffle` takes far longer
    cells = np.ascontiguousarray(image.reshape(height, 2, width, 2, 3).transpose(4, 1, 3, 0, 2))
    return torch.from_numpy(cells.reshape(1, 12, height, width)).to(device).float().div_(255)


def _features(net: MapperNet, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fine and coarse features of cells, as `MapperNet` computes them, without keeping intermediate results."""
    energies = F.pad(band_energies(cells), (0, 0, 0, 0, 0, 1))
    x = torch.cat([net.stem(contrast_normalised(cells)).relu_(), energies], 1)
    x = net.level4(x).relu_()
    fine = _residuals(net.level8, net.down8(x).relu_())
    del x
    return fine, _residuals(net.level16, net.down16(fine).relu_()), lattice(grey_levels(cells))


def _residuals(blocks: torch.nn.Sequential, x: Tensor) -> Tensor:
    for block in blocks:
        assert isinstance(block, Residual)
        x = block.second(block.first(x).relu_()).add_(x).relu_()
    return x
