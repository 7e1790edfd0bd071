"""The embedded restorer's network: a residual U-Net on 2 x 2 pixels, conditioned and gated by the strength map.

It adds a correction to the image, times a gate that is 0 where the strength is 0, so pixels of strength 0 cannot
change. Normalisation is over the channels of one position, so that a result depends on its surroundings only.

One set of weights for all damage learned to remove noise and little else, because repairs of blur harm compressed
images. So each kind of damage has its own 69,244 weights (the layers at full resolution, all normalisations, all
biases), mixed by the shares of the kinds that a small classifier predicts. All kinds share the other 2.4 million.
(Degradation-aware weights as in AirNet, CVPR 2022, and PromptIR, arXiv 2306.13090; mixed as in CondConv,
arXiv 1904.04971.)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from qrefine.models.mappers.embedded_net import band_energies

ARCHITECTURE = "qrefine-restorer-4"
"""Name and version, written into the weights file: other names are refused."""

STRIDE = 16
"""Sides must be multiples of this many pixels: four halvings."""

GATE = 4.0
"""The correction is applied in full from a strength of 1 / GATE, so that mild damage is also repaired fully."""

KINDS = ("noise", "blur", "compression", "shrinking", "grid", "surface", "mixture", "enlarged")
"""Kinds of damage with their own weights, in the order of the shares. The last share means nothing to repair."""

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
        # the sum is not in place: it has x's layout, on which later layers' last bits depend
        return x + self.second(self.first(normed).relu_())


class UNet(nn.Module):
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
        for layer in (*self.up, self.last):  # initially nothing is corrected, and scales are added one by one
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
            x = after(F.pixel_shuffle(up(x), 2).add_(skip))
        correction = F.pixel_shuffle(self.last(x).float(), 2) * _SCALE
        return pixels + (strength * GATE).clamp(max=1) * correction


def own(name: str) -> bool:
    """Whether each kind of damage has its own values of this parameter of ``UNet``."""
    return (
        name.startswith(("stem.", "last.", "before.0.", "after.0.")) or ".norm." in name or name.endswith("bias")
    )


class Teller(nn.Module):
    """Pixels (b, 3, h, w) and strength (b, 1, h, w), sides multiples of 16 -> logits (b, kinds + 1).

    The last class: nothing in the region can be repaired; it is clean, or its content is wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = _layer(16, 48, 2)
        self.layers = nn.Sequential(_layer(48 + 15, 64), _layer(64, 96, 2), _layer(96, 96))
        self.head = nn.Sequential(nn.Linear(2 * 96, 64), nn.ReLU(), nn.Linear(64, len(KINDS) + 1))

    def forward(self, pixels: Tensor, strength: Tensor) -> Tensor:
        energies = band_energies(F.pixel_unshuffle(pixels, 2))
        x = self.layers(torch.cat([self.fine(cells_of(pixels, strength)), energies], 1)).float()
        weight = F.avg_pool2d(strength.float(), 8) + 1e-4
        weight = weight / weight.sum((2, 3), keepdim=True)
        mean = (x * weight).sum((2, 3))
        deviation = ((x - mean[..., None, None]).square() * weight).sum((2, 3)).add(1e-6).sqrt()
        return self.head(torch.cat([mean, deviation], 1))


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class RestorerNet(nn.Module):
    """The U-Net, the differences of each kind's own weights from it, and the classifier of kinds (``teller``)."""

    def __init__(self, trunk: UNet | None = None, teller: Teller | None = None) -> None:
        super().__init__()
        self.trunk, self.teller = trunk or UNet(), teller or Teller()
        self.names = tuple(name for name, _ in self.trunk.named_parameters() if own(name))
        values = dict(self.trunk.named_parameters())
        self.differences = nn.ParameterList(torch.zeros(len(KINDS), *values[name].shape) for name in self.names)

    def shares(self, pixels: Tensor, strength: Tensor) -> Tensor:
        """Probabilities (b, kinds + 1) of the kinds of damage where strength > 0."""
        return self.teller(pixels, strength).float().softmax(1)

    def mixed(self, shares: Tensor) -> Mapping[str, Tensor]:
        """The U-Net's own weights for ``shares`` (kinds + 1,) of the kinds."""
        values = dict(self.trunk.named_parameters())
        return {
            name: values[name] + torch.tensordot(shares[:-1], difference, 1)
            for name, difference in zip(self.names, self.differences, strict=True)
        }

    def forward(self, pixels: Tensor, strength: Tensor, shares: Tensor) -> Tensor:
        """(b, 3, h, w) in [0, 1], (b, 1, h, w) in [0, 1], (kinds + 1,) -> restored pixels, not clipped.

        The correction is scaled by the probability that something can be repaired.
        """
        restored = functional_call(self.trunk, dict(self.mixed(shares)), (pixels, strength))
        return pixels + (1 - shares[-1]) * (restored - pixels)


def cells_of(pixels: Tensor, strength: Tensor) -> Tensor:
    """(b, 3, h, w) and (b, 1, h, w) -> (b, 16, h/2, w/2): each 2 x 2 cell minus the mean colour of 5 x 5 cells.

    Damage is small compared with the colour. Separated and amplified it is learned several times as fast; the mean
    colour and the cell's strength are the last channels.
    """
    cells = F.pixel_unshuffle(pixels, 2)
    b, _, h, w = cells.shape
    grouped = cells.view(b, 3, 4, h, w)
    mean = F.avg_pool2d(F.pad(grouped.mean(2), (2, 2, 2, 2), mode="replicate"), 5, 1)
    detail = ((grouped - mean[:, :, None]) * _CONTRAST).view(b, 12, h, w)
    return torch.cat([detail, mean * 2 - 1, F.avg_pool2d(strength, 2) * 2 - 1], 1)
