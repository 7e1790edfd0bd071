"""The embedded restorer's network: a residual U-Net on 2 x 2 pixels, led and gated by the strength map.

It adds a correction to the image, times a gate that is 0 where the strength is 0: what is not asked for cannot
change. Normalisation is over the channels of one place, so that an answer depends on its surroundings alone.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ARCHITECTURE = "qrefine-restorer-1"
"""Name and version, written into the weights file: other names are refused."""

STRIDE = 16
"""Sides must be multiples of this many pixels: four halvings."""

GATE = 4.0
"""The correction is whole from a strength of 1 / GATE on: mild damage too is repaired wholly, not by half."""

_CHANNELS = (32, 64, 128, 144)
_BEFORE = (1, 2, 2, 2)
_AFTER = (2, 2, 2)

_CONTRAST = 8.0
_SCALE = 0.3


class Block(nn.Module):
    """x + conv(relu(conv(norm(x)))), 3 x 3; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.second(F.relu(self.first(normed)))


class RestorerNet(nn.Module):
    """Pixels (b, 3, h, w) in [0, 1] and strength (b, 1, h, w) in [0, 1] -> restored pixels, not clipped."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, _CHANNELS[0], 3, padding=1)
        self.before = nn.ModuleList(
            nn.Sequential(*(Block(c) for _ in range(n))) for c, n in zip(_CHANNELS, _BEFORE, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(c, d, 2, stride=2) for c, d in pairwise(_CHANNELS))
        self.up = nn.ModuleList(nn.Conv2d(d, 4 * c, 1) for c, d in pairwise(_CHANNELS))
        self.after = nn.ModuleList(
            nn.Sequential(*(Block(c) for _ in range(n))) for c, n in zip(_CHANNELS[:-1], _AFTER, strict=True)
        )
        self.last = nn.Conv2d(_CHANNELS[0], 12, 3, padding=1)
        for layer in (*self.up, self.last):  # at the start nothing is corrected, and scales are added one by one
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor, strength: Tensor) -> Tensor:
        x = self.stem(_cells(pixels, strength))
        skips = []
        for before, down in zip(self.before, self.down, strict=False):
            x = before(x)
            skips.append(x)
            x = down(x)
        x = self.before[-1](x)
        for up, after, skip in zip(reversed(self.up), reversed(self.after), reversed(skips), strict=True):
            x = after(F.pixel_shuffle(up(x), 2) + skip)
        correction = F.pixel_shuffle(self.last(x).float(), 2) * _SCALE
        return pixels + (strength * GATE).clamp(max=1) * correction


def _cells(pixels: Tensor, strength: Tensor) -> Tensor:
    """(b, 3, h, w) and (b, 1, h, w) -> (b, 16, h/2, w/2): each 2 x 2 cell less the mean colour of 5 x 5 cells.

    Damage is small beside the colour it sits on. Given apart and enlarged it is learned several times as fast;
    the mean colour and the cell's strength follow.
    """
    cells = F.pixel_unshuffle(pixels, 2)
    b, _, h, w = cells.shape
    grouped = cells.view(b, 3, 4, h, w)
    mean = F.avg_pool2d(F.pad(grouped.mean(2), (2, 2, 2, 2), mode="replicate"), 5, 1)
    detail = ((grouped - mean[:, :, None]) * _CONTRAST).view(b, 12, h, w)
    return torch.cat([detail, mean * 2 - 1, F.avg_pool2d(strength, 2) * 2 - 1], 1)
