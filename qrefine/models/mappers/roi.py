"""RoI average-max pooling over an n x n grid that covers any feature map: no loop over patches.

Both poolings are separable, so the average is two small matrix products (row weights, column
weights) and the maximum two gathers.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=256)
@torch.inference_mode(mode=False)  # cached values may be used by a pass with gradients later
def average_weights(pixels: int, stride: int, cells: int, n: int) -> Tensor:
    """(n, cells): the weight of each feature cell in each patch along ``pixels`` pixels; rows sum to 1.

    Cell c covers pixels [c, c + 1) * stride, patch i covers [i, i + 1) * pixels / n, whole or in part.
    """
    patch = torch.arange(n + 1, dtype=torch.float64) * (pixels / n)
    cell = torch.arange(cells + 1, dtype=torch.float64) * stride
    low = torch.maximum(patch[:-1, None], cell[None, :-1])
    high = torch.minimum(patch[1:, None], cell[None, 1:])
    overlap = (high - low).clamp_min(0)
    return (overlap / overlap.sum(1, keepdim=True)).float()


@lru_cache(maxsize=256)
@torch.inference_mode(mode=False)
def maximum_cells(pixels: int, stride: int, cells: int, n: int) -> Tensor:
    """(n, k): the cells that touch each patch; shorter lists repeat their last cell."""
    touched = average_weights(pixels, stride, cells, n) > 1e-6
    first = touched.int().argmax(1)
    count = touched.sum(1)
    steps = torch.arange(int(count.max()))
    return first[:, None] + torch.minimum(steps[None], count[:, None] - 1)


class RoiPool:
    """`roi_average_max` of features that arrive in parts: averages are summed, maxima combined.

    ``cells``: rows and columns of all parts together.
    """

    def __init__(self, stride: int, size: tuple[int, int], cells: tuple[int, int], n: int) -> None:
        self.rows, self.columns = (average_weights(s, stride, c, n) for s, c in zip(size, cells, strict=True))
        self.touched = [maximum_cells(s, stride, c, n) for s, c in zip(size, cells, strict=True)]
        self.n = n
        self.average: Tensor | None = None
        self.highest: Tensor | None = None

    def add(self, features: Tensor, top: int, left: int) -> None:
        """Adds features (b, c, h, w) whose first cell is (``top``, ``left``) in the whole."""
        height, width = features.shape[-2:]
        rows = self.rows[:, top : top + height].to(features)
        columns = self.columns[:, left : left + width].to(features)
        average = torch.einsum("iy,bcyx,jx->bcij", rows, features, columns)
        self.average = average if self.average is None else self.average + average
        (down, cells_y), (across, cells_x) = (
            _patches_of(cells.to(features.device), start, start + length)
            for cells, start, length in zip(self.touched, (top, left), (height, width), strict=True)
        )
        if self.highest is None:
            self.highest = features.new_full((*features.shape[:2], self.n, self.n), -torch.inf)
        here = self.highest[:, :, down, across]
        torch.maximum(here, features[:, :, cells_y].amax(3)[..., cells_x].amax(-1), out=here)

    def result(self) -> Tensor:
        """(b, n, n, 2c), once all parts are in."""
        assert self.average is not None
        assert self.highest is not None
        return torch.cat([self.average, self.highest], 1).permute(0, 2, 3, 1)


def _patches_of(cells: Tensor, start: int, stop: int) -> tuple[slice, Tensor]:
    """Which patches touch cells [start, stop), and by which of them; ``cells`` as from `maximum_cells`."""
    touching = ((cells >= start) & (cells < stop)).any(1).nonzero()[:, 0]
    patches = slice(int(touching[0]), int(touching[-1]) + 1)
    return patches, cells[patches].clamp(start, stop - 1) - start


def roi_average_max(features: Tensor, stride: int, size: tuple[int, int], n: int) -> Tensor:
    """Features (b, c, h, w) of an image of ``size`` (height, width) pixels -> (b, n, n, 2c): averages, maxima.

    ``stride`` is the pixels a cell covers; cells beyond ``size`` (padding) are ignored.
    """
    (height, width), (cells_y, cells_x) = size, features.shape[-2:]
    rows = average_weights(height, stride, cells_y, n).to(features)
    columns = average_weights(width, stride, cells_x, n).to(features)
    average = torch.einsum("iy,bcyx,jx->bcij", rows, features, columns)
    touched_y = maximum_cells(height, stride, cells_y, n).to(features.device)
    touched_x = maximum_cells(width, stride, cells_x, n).to(features.device)
    highest = features[:, :, touched_y].amax(3)[..., touched_x].amax(-1)
    return torch.cat([average, highest], 1).permute(0, 2, 3, 1)
