"""The embedded judge's network: it sees the image before and after, and says of each cell whether after is better.

Three views go in, at 2 x 2 pixels a place: before, after, and their difference over the contrast of before. Beside
them stand statistics of both at three scales: log energies of Haar bands, and how sparse these are. Noise and
stars have the same energy; stars are sparse, noise is not. A cell is judged in its surroundings: three residual
layers are dilated, and the means of the features over what changed and over what did not are given to every cell,
so that a look that is also where nothing changed is known as content. (Means as in squeeze-and-excitation, arXiv
1709.01507.) It shares nothing with the mapper: neither layers, nor data, nor seed.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

ARCHITECTURE = "qrefine-comparator-1"
"""Name and version, written into the weights file: other names are refused."""

CELL = 16
"""Pixels along a side of a judged cell; an image's sides must be multiples of it."""

ANSWERS = ("better", "before", "after")
"""A logit, and two that help training: log distances of before and of after from the truth."""

_FINE, _MIDDLE, _COARSE = 48, 72, 112
_STATISTICS = 20


class _Convolution(nn.Sequential):
    """3 x 3, then batch normalisation: training needs it, and ``folded`` takes it away."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs))


class _Residual(nn.Module):
    """relu(x + conv(relu(conv(x)))), both 3 x 3, the second dilated."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = _Convolution(channels, channels)
        self.second = _Convolution(channels, channels, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


def _smooth(x: Tensor, reach: int) -> Tensor:
    """Means over (2 reach + 1)^2 places. Sums of shifted planes: on CPUs many times as fast as pooling."""
    side, (height, width) = 2 * reach + 1, x.shape[-2:]
    x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    rows = sum((x[..., i : i + height, :] for i in range(1, side)), x[..., :height, :])
    return sum((rows[..., i : i + width] for i in range(1, side)), rows[..., :width]) / side**2


def _halved(x: Tensor) -> Tensor:
    """Means over 2 x 2 places; for the same reason no pooling."""
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _luma(pixels: Tensor) -> Tensor:
    return 0.3 * pixels[:, :1] + 0.6 * pixels[:, 1:2] + 0.1 * pixels[:, 2:]


def _haar(plane: Tensor) -> Tensor:
    """(b, 1, h, w) -> across, down and diagonal differences (b, 3, h / 2, w / 2)."""
    top, bottom = plane[:, 0, ::2], plane[:, 0, 1::2]
    a, b, c, d = top[..., ::2], top[..., 1::2], bottom[..., ::2], bottom[..., 1::2]
    return torch.stack([a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2


def statistics(pixels: Tensor) -> Tensor:
    """RGB (b, 3, h, w) in [0, 1], sides multiples of 8 -> (b, 20, h / 4, w / 4), roughly in [-2, 2].

    Log energies of luma's Haar bands at 1, 2 and 4 px and of two colour differences at 1 px; the sparseness of
    each scale of luma (log of the mean square over the squared mean); how far the brightest and the darkest pixel
    around lie from the mean, and the mean colour.
    """
    grey = _luma(pixels)
    half = _halved(grey)
    quarter = _halved(half)
    chroma = torch.cat([_haar(pixels[:, :1] - pixels[:, 1:2]), _haar(pixels[:, 2:] - pixels[:, 1:2])], 1)
    chroma = chroma.abs()
    chroma = torch.stack([chroma[:, :3].mean(1), chroma[:, 3:].mean(1)], 1)
    bands = (
        _halved(_haar(grey).abs()),
        _haar(half).abs(),
        F.interpolate(_haar(quarter).abs(), scale_factor=2.0, mode="nearest"),
    )
    means = [_smooth(band, 2) for band in bands]
    sparse = [
        _smooth(band.square().mean(1, keepdim=True), 2) / (mean.square().mean(1, keepdim=True) + 1e-6)
        for band, mean in zip(bands, means, strict=True)
    ]
    energies = torch.cat([*means, _smooth(_halved(chroma), 2)], 1)
    brightest = F.max_pool2d(F.max_pool2d(grey, 4), 3, 1, 1) - quarter
    darkest = quarter + F.max_pool2d(F.max_pool2d(-grey, 4), 3, 1, 1)
    return torch.cat(
        [
            (energies + 5e-4).log() * 0.4 + 2,
            (torch.cat(sparse, 1) + 0.3).log() * 0.7,
            (torch.cat([brightest, darkest], 1) + 5e-3).log() * 0.4 + 1,
            _halved(_halved(pixels)) * 2 - 1,
            (_smooth((quarter - _smooth(quarter, 2)).abs(), 2) + 1e-3).log() * 0.4 + 1.5,
        ],
        1,
    )


def views(before: Tensor, after: Tensor) -> Tensor:
    """(b, 36, h / 2, w / 2): before, after and their difference, each less or over what before is like around."""
    around = _smooth(_halved(before), 3)
    square = _smooth(_halved(before.square()), 3)
    deviation = (square - around.square()).mean(1, keepdim=True).clamp_min(0).add(1e-5).sqrt()
    mean = around[:, :, None, None]
    old, new = (x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 3, 5, 2, 4) for x in (before, after))
    known = torch.stack([old - mean, new - mean, new - old], 1).flatten(1, 4)
    return known.div_(deviation + 0.03).clamp_(-6, 6)


def changed(before: Tensor, after: Tensor) -> Tensor:
    """(b, 1, h / 16, w / 16): 0 where no pixel of the cell moved by more than half a level, else up to 1."""
    return (F.max_pool2d((after - before).abs().amax(1, keepdim=True), CELL) * 255 - 0.5).clamp(0, 1)


class ComparatorNet(nn.Module):
    """Before and after (b, 3, h, w) in [0, 1], sides multiples of 16 -> (b, 3, h / 16, w / 16), see ``ANSWERS``.

    sigmoid of the first is the probability that after is nearer the undamaged truth than before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(36, _FINE, stride=2)
        self.level4 = _Convolution(_FINE + 2 * _STATISTICS, _FINE)
        self.down8 = _Convolution(_FINE, _MIDDLE, stride=2)
        self.level8 = nn.Sequential(_Residual(_MIDDLE), _Residual(_MIDDLE, 2))
        self.down16 = _Convolution(_MIDDLE, _COARSE, stride=2)
        self.level16 = nn.Sequential(_Residual(_COARSE), _Residual(_COARSE, 2))
        self.whole = nn.Sequential(nn.Linear(2 * _COARSE + 1, 96), nn.ReLU(), nn.Linear(96, _COARSE))
        self.last = nn.Sequential(_Residual(_COARSE, 4), _Residual(_COARSE))
        self.head = nn.Sequential(nn.Conv2d(_COARSE, 96, 1), nn.ReLU(), nn.Conv2d(96, len(ANSWERS), 1))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        change = changed(before, after)
        known = torch.cat([statistics(before), statistics(after)], 1)
        x = torch.cat([F.relu(self.stem(views(before, after))), known], 1)
        x = F.relu(self.level4(x))
        x = self.level8(F.relu(self.down8(x)))
        x = self.level16(F.relu(self.down16(x)))
        x = F.relu(x + self.whole(_inside_outside(x, change))[:, :, None, None])
        return self.head(self.last(x))


def _inside_outside(x: Tensor, change: Tensor) -> Tensor:
    """Means of features (b, c, h, w) where cells changed and where not, and the latter's share: (b, 2c + 1)."""
    inside = (x * change).sum((2, 3)) / (change.sum((2, 3)) + 1e-3)
    still = 1 - change
    outside = (x * still).sum((2, 3)) / (still.sum((2, 3)) + 1e-3)
    return torch.cat([inside, outside, still.mean((2, 3))], 1).to(x.dtype)


def folded(net: ComparatorNet) -> ComparatorNet:
    """A copy for inference whose convolutions have taken in their batch normalisations."""
    net = deepcopy(net).eval()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, _Convolution):
                convolution, norm = child
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
    return net
