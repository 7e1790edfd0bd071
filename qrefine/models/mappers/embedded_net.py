"""The embedded quality mapper's network: one convolutional pass, RoI average-max pooling, a head per patch.

As in Faster-RCNN and PaQ-2-PiQ (Q-Refine, equations 1 and 2), with some additions. Pixels are normalised by the
local contrast, because damage is visible relative to it. Log energies of Haar bands at three scales are additional
inputs: blur, noise and ringing are ratios between bands, which become differences. Periods that convolutions miss
are measured (``lattice``). The head knows the mean of all patches beside each, for what is damage in one picture
is the look of another. And nothing is convolved at full resolution, which would cost most: the front end takes
2 x 2 pixels at a time.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from qrefine.models.mappers import lattice
from qrefine.models.mappers.roi import roi_average_max

ARCHITECTURE = "qrefine-mapper-3"
"""Name and version, written into the weights file: other names are refused."""

FAMILIES = ("blur", "noise", "compression", "resampling", "surface", "content", "mixture")
"""Families of damage, in the order of the network's outputs."""

_COARSEST = 16
_HIDDEN = 128


class Convolution(nn.Sequential):
    """3 x 3 convolution, then batch normalisation, which ``folded`` merges into the convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """relu(x + conv(relu(conv(x)))), both 3 x 3, the second dilated."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = Convolution(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def contrast_normalised(cells: Tensor) -> Tensor:
    """Cells of 2 x 2 RGB pixels (b, 12, h, w) in [0, 1] -> (b, 16, h, w).

    Channels: the twelve values minus the local mean colour, divided by the local standard deviation; the log of
    the deviation; the mean colour. "Local" is 3 x 3 cells.
    """
    b, _, h, w = cells.shape
    grouped = cells.view(b, 3, 4, h, w)
    moments = torch.cat([grouped.mean(2), cells.square().mean(1, keepdim=True)], 1)
    moments = _mean3(moments)
    mean, square = moments[:, :3], moments[:, 3:]
    deviation = (square - mean.square().mean(1, keepdim=True)).clamp_min(0).add(1e-5).sqrt()
    normalised = (grouped - mean[:, :, None]) / (deviation[:, :, None] + 0.02)
    return torch.cat([normalised.view(b, 12, h, w), deviation.log() * 0.5 + 1, mean * 2 - 1], 1)


def band_energies(cells: Tensor) -> Tensor:
    """Cells of 2 x 2 RGB pixels (b, 12, h, w), h and w multiples of 4 -> log energies (b, 15, h/2, w/2).

    Horizontal, vertical and diagonal Haar bands: of luma and two colour differences between pixels, then of luma
    between 2 x 2 and between 4 x 4 pixels; magnitudes averaged over 12 pixels, 24 at the coarsest.
    """
    b, _, h, w = cells.shape
    red, green, blue = cells.view(b, 3, 4, h, w).unbind(1)
    luma = 0.3 * red + 0.6 * green + 0.1 * blue
    finest = torch.cat([_halved(_haar(x).abs_()) for x in (luma, red - green, blue - green)], 1)
    middle_cells = F.pixel_unshuffle(luma.mean(1, keepdim=True), 2)
    coarse_cells = F.pixel_unshuffle(middle_cells.mean(1, keepdim=True), 2)
    coarse = F.interpolate(_mean3(_haar(coarse_cells).abs_()), scale_factor=2.0, mode="nearest")
    return torch.cat([_mean3(finest), _mean3(_haar(middle_cells).abs_()), coarse], 1).add(2e-4).log().add(4) * 0.4


def grey_levels(cells: Tensor) -> Tensor:
    """Cells of 2 x 2 RGB pixels (b, 12, h, w) in [0, 1] -> luma (b, 1, 2h, 2w) in [0, 255]."""
    b, _, h, w = cells.shape
    red, green, blue = cells.view(b, 3, 4, h, w).unbind(1)
    return F.pixel_shuffle(76.245 * red + 149.685 * green + 29.07 * blue, 2)


def _haar(cells: Tensor) -> Tensor:
    """Cells of four pixels in reading order (b, 4, h, w) -> across, down and diagonal differences (b, 3, h, w)."""
    a, b, c, d = cells.unbind(1)
    above, below = a - b, c - d
    return torch.stack([above + below, (a + b).sub_(c).sub_(d), above - below], 1).mul_(0.5)


def _halved(x: Tensor) -> Tensor:
    """Means of 2 x 2: like ``avg_pool2d``, which on CPUs takes four times as long."""
    x = x[..., ::2, :] + x[..., 1::2, :]
    return (x[..., ::2] + x[..., 1::2]).mul_(0.25)


def _mean3(x: Tensor) -> Tensor:
    """Means of 3 x 3, edges repeated: like ``avg_pool2d``, which on CPUs takes nine times as long."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = (x[..., :-2, :] + x[..., 1:-1, :]).add_(x[..., 2:, :])
    return (x[..., :-2] + x[..., 1:-1]).add_(x[..., 2:]).mul_(1 / 9)


class Head(nn.Module):
    """Patches (b, n, m, c) -> logits (b, n, m, 1 + families), each patch seen beside the mean of its image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.own = nn.Linear(channels, _HIDDEN)
        self.beside = nn.Linear(channels, _HIDDEN, bias=False)
        self.second = nn.Linear(_HIDDEN, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, 1 + len(FAMILIES))

    def forward(self, patches: Tensor) -> Tensor:
        x = F.relu(self.own(patches) + self.beside(patches.mean((-3, -2), keepdim=True)))
        return self.last(F.relu(self.second(x)))


class MapperNet(nn.Module):
    """RGB (b, 3, h, w) in [0, 1], of any size -> logits (b, n, n, 1 + families): sigmoid 0 is clean, 1 ruined.

    The first is the severity of all damage, the others the severity per family (``FAMILIES``), as auxiliary
    targets in training.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(16, 32, stride=2)
        self.level4 = Convolution(32 + 16, 48)
        self.down8 = Convolution(48, 64, stride=2)
        self.level8 = nn.Sequential(Residual(64), Residual(64))
        self.down16 = Convolution(64, 112, stride=2)
        self.level16 = nn.Sequential(Residual(112), Residual(112, 2), Residual(112, 2))
        self.head = Head(2 * (64 + 112 + lattice.CHANNELS))

    def forward(self, pixels: Tensor, n: int) -> Tensor:
        return self.head(self.patches(pixels, n))

    def patches(self, pixels: Tensor, n: int) -> Tensor:
        """The head's input for each patch, (b, n, n, 2c): P of equation 1, pooled."""
        size = (pixels.shape[-2], pixels.shape[-1])
        pixels = _padded(pixels)
        cells = F.pixel_unshuffle(pixels, 2)
        energies = F.pad(band_energies(cells), (0, 0, 0, 0, 0, 1))  # 16 channels: faster kernels
        x = torch.cat([F.relu(self.stem(contrast_normalised(cells))), energies], 1)
        x = F.relu(self.level4(x))
        fine = self.level8(F.relu(self.down8(x)))
        coarse = self.level16(F.relu(self.down16(fine)))
        periods = lattice.lattice(grey_levels(cells.float()))
        features = ((fine, 8), (coarse, 16), (periods, lattice.CELL))
        return torch.cat([roi_average_max(f.float(), stride, size, n) for f, stride in features], -1)


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


def folded(net: MapperNet) -> MapperNet:
    """A copy for inference with batch normalisation folded into the convolutions."""
    net = deepcopy(net).eval()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, Convolution):
                convolution, norm = child
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
    return net
