"""The embedded quality mapper's network: one convolutional pass, RoI average-max pooling, a head per patch.

As Faster-RCNN and PaQ-2-PiQ have it (Q-Refine, equations 1 and 2), with two additions: pixels are normalised by
the contrast around them, for damage is seen relative to it, and the front end works on 2 x 2 pixels at a time,
since full resolution is what costs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrefine.models.roi import roi_average_max

ARCHITECTURE = "qrefine-mapper-1"
"""Name and version, written into the weights file: other names are refused."""

_COARSEST = 16


class Residual(nn.Module):
    """x + conv(relu(conv(x))), both 3 x 3, the second dilated; starts as the identity."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def contrast_normalised(pixels: Tensor) -> Tensor:
    """RGB (b, 3, h, w) in [0, 1], sides even -> (b, 16, h/2, w/2).

    Twelve pixel values of each 2 x 2 cell less the local mean and over the local deviation, then the log of the
    deviation, and the mean colour. "Local" is 6 x 6 pixels.
    """
    cells = F.pixel_unshuffle(pixels, 2)
    b, _, h, w = cells.shape
    grouped = cells.view(b, 3, 4, h, w)
    # First and second moments of every cell, then over the 3 x 3 cells around: nothing runs at full resolution.
    moments = torch.cat([grouped.mean(2), cells.square().mean(1, keepdim=True)], 1)
    moments = F.avg_pool2d(F.pad(moments, (1, 1, 1, 1), mode="replicate"), 3, 1)
    mean, square = moments[:, :3], moments[:, 3:]
    deviation = (square - mean.square().mean(1, keepdim=True)).clamp_min(0).add(1e-5).sqrt()
    normalised = (grouped - mean[:, :, None]) / (deviation[:, :, None] + 0.02)
    return torch.cat([normalised.view(b, 12, h, w), deviation.log() * 0.5 + 1, mean * 2 - 1], 1)


class MapperNet(nn.Module):
    """RGB (b, 3, h, w) in [0, 1], of any size -> severity logits (b, n, n): sigmoid is 0 for clean, 1 for ruined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.level4 = nn.Conv2d(32, 48, 3, padding=1)
        self.down8 = nn.Conv2d(48, 64, 3, stride=2, padding=1)
        self.level8 = nn.Sequential(Residual(64), Residual(64))
        self.down16 = nn.Conv2d(64, 112, 3, stride=2, padding=1)
        self.level16 = nn.Sequential(Residual(112), Residual(112, 2), Residual(112, 2))
        self.head = nn.Sequential(nn.Linear(2 * (64 + 112), 96), nn.ReLU(), nn.Linear(96, 1))

    def forward(self, pixels: Tensor, n: int) -> Tensor:
        size = (pixels.shape[-2], pixels.shape[-1])
        pixels = _padded(pixels)
        x = F.relu(self.stem(contrast_normalised(pixels)))
        x = F.relu(self.level4(x))
        fine = self.level8(F.relu(self.down8(x)))
        coarse = self.level16(F.relu(self.down16(fine)))
        patches = [roi_average_max(f.float(), s, size, n) for f, s in ((fine, 8), (coarse, 16))]
        return self.head(torch.cat(patches, -1)).squeeze(-1)


def _padded(pixels: Tensor) -> Tensor:
    """Mirrored to the right and below up to a multiple of 16; single rows and columns are repeated."""
    height, width = pixels.shape[-2:]
    down, right = -height % _COARSEST, -width % _COARSEST
    if not (down or right):
        return pixels
    mirror_y = _mirror(height, height + down).to(pixels.device)
    mirror_x = _mirror(width, width + right).to(pixels.device)
    return pixels[:, :, mirror_y][..., mirror_x]


def _mirror(size: int, padded: int) -> Tensor:
    """Indices 0, 1, ..., size - 1, size - 2, ..., 1, 0, 1, ... of length ``padded``."""
    period = max(2 * size - 2, 1)
    place = torch.arange(padded) % period
    return torch.minimum(place, period - place) if size > 1 else torch.zeros(padded, dtype=torch.long)


def parameters_of(net: nn.Module) -> int:
    """How many numbers the network has learned."""
    return sum(parameter.numel() for parameter in net.parameters())


