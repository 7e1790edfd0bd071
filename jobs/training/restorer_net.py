"""The embedded restorer's network: a residual U-Net on 2 x 2 pixels, led and gated by the strength map.

It adds a correction to the image, times a gate that is 0 where the strength is 0: what is not asked for cannot
change. One set of weights serves all damage; nothing is told of its kind.

Blocks have NAFNet's form (arXiv 2204.04676): normalisation over the channels of one place, a convolution, the
SimpleGate (one half of the channels times the other), a convolution, no other activation. Two things differ.
Both convolutions are whole 3 x 3 ones instead of 1 x 1 and depthwise: on a CPU these cost as much time for twice
the weights. And there is no channel attention, which pools over the image and would make an answer depend on the
tile that it stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrefine.models.restorers.embedded_net import cells_of

ARCHITECTURE = "qrefine-restorer-3"
"""Name and version, written into the weights file: other names are refused."""

STRIDE = 16
"""Sides must be multiples of this many pixels: four halvings."""

GATE = 4.0
"""The correction is whole from a strength of 1 / GATE on: mild damage too is repaired wholly, not by half."""

CHANNELS = (32, 64, 128, 160)
BEFORE = (2, 2, 3, 3)
AFTER = (2, 2, 3)
"""Channels of each scale (2, 4, 8, 16 px a cell), and blocks on the way down and on the way up."""

_SCALE = 0.3


class Block(nn.Module):
    """x + conv(gate(conv(norm(x)))); starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels // 2, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        one, other = self.first(normed).chunk(2, 1)
        return x + self.second(one * other)


class RestorerNet(nn.Module):
    """Pixels (b, 3, h, w) in [0, 1] and strength (b, 1, h, w) in [0, 1] -> restored pixels, not clipped.

    h and w are multiples of ``STRIDE``; ``padded`` makes them so.
    """

    def __init__(
        self, channels: Sequence[int] = CHANNELS, before: Sequence[int] = BEFORE, after: Sequence[int] = AFTER
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(16, channels[0], 3, padding=1)
        self.before = nn.ModuleList(
            nn.Sequential(*(Block(c) for _ in range(n))) for c, n in zip(channels, before, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(c, d, 2, stride=2) for c, d in pairwise(channels))
        self.up = nn.ModuleList(nn.Conv2d(d, 4 * c, 1) for c, d in pairwise(channels))
        self.after = nn.ModuleList(
            nn.Sequential(*(Block(c) for _ in range(n))) for c, n in zip(channels[:-1], after, strict=True)
        )
        self.last = nn.Conv2d(channels[0], 12, 3, padding=1)
        for layer in (*self.up, self.last):  # at the start nothing is corrected, and scales are added one by one
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor, strength: Tensor) -> Tensor:
        x = self.stem(cells_of(pixels, strength))
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


def padded(planes: Tensor, stride: int = STRIDE) -> Tensor:
    """(b, c, h, w) of any size, mirrored to the right and below up to multiples of ``stride``."""
    for axis in (2, 3):
        size = planes.shape[axis]
        place = torch.arange(size + -size % stride, device=planes.device) % (2 * size)
        planes = planes.index_select(axis, torch.minimum(place, 2 * size - 1 - place))
    return planes
