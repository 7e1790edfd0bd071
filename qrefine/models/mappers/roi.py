"""RoI average-max pooling over an n x n grid that covers any feature map: no loop over patches.

Both poolings are separable, so a patch is a row weight and a column weight: the average is two small matrix
products, the maximum two gathers.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def average_weights(pixels: int, stride: int, cells: int, n: int) -> Tensor:
    """(n, cells): the share of each feature cell in each patch of a side of ``pixels``; rows sum to 1.

    Cell c covers pixels [c, c + 1) * stride, patch i covers [i, i + 1) * pixels / n, whole or in part.
    """
    patch = torch.arange(n + 1, dtype=torch.float64) * (pixels / n)
    cell = torch.arange(cells + 1, dtype=torch.float64) * stride
    low = torch.maximum(patch[:-1, None], cell[None, :-1])
    high = torch.minimum(patch[1:, None], cell[None, 1:])
    overlap = (high - low).clamp_min(0)
    return (overlap / overlap.sum(1, keepdim=True)).float()


@lru_cache(maxsize=256)
def maximum_cells(pixels: int, stride: int, cells: int, n: int) -> Tensor:
    """(n, k): the cells that touch each patch; shorter lists repeat their last cell."""
    touched = average_weights(pixels, stride, cells, n) > 1e-6
    first = touched.int().argmax(1)
    count = touched.sum(1)
    steps = torch.arange(int(count.max()))
    return first[:, None] + torch.minimum(steps[None], count[:, None] - 1)


def roi_average_max(features: Tensor, stride: int, size: tuple[int, int], n: int) -> Tensor:
    """Features (b, c, h, w) of an image of ``size`` (height, width) pixels -> (b, n, n, 2c): averages, maxima.

    ``stride`` is the pixels a cell covers; cells beyond ``size`` (padding) count for nothing.
    """
    (height, width), (cells_y, cells_x) = size, features.shape[-2:]
    rows = average_weights(height, stride, cells_y, n).to(features)
    columns = average_weights(width, stride, cells_x, n).to(features)
    average = torch.einsum("iy,bcyx,jx->bcij", rows, features, columns)
    touched_y = maximum_cells(height, stride, cells_y, n).to(features.device)
    touched_x = maximum_cells(width, stride, cells_x, n).to(features.device)
    highest = features[:, :, touched_y].amax(3)[..., touched_x].amax(-1)
    return torch.cat([average, highest], 1).permute(0, 2, 3, 1)
