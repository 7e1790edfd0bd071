"""PaQ-2-PiQ's network: patch quality by RoI pooling over one backbone pass (Q-Refine, equations 1 and 2).

Ying et al., From Patches to Pictures (PaQ-2-PiQ), CVPR 2020: a ResNet-18 body, RoIPool of each patch to 2 x 2,
maximum and average of it, and a head of two layers. Module names follow the public ``RoIPoolModel`` checkpoint,
which is trained on pixels in [0, 1] without further normalisation and answers on a scale of 0 to 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from qrefine.models.device import pick_batch, pick_device
from qrefine.models.memory import FittingBatches
from qrefine.models.options import BatchOptions
from qrefine.models.weights import load_exactly, read_checkpoint
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import patch_count

WHAT = "RoIPoolModel state dict of PaQ-2-PiQ"
STRIDE = 32  # of the body
BINS = 2  # RoIPool's output, per side
BEST = 100.0
CANVAS = 256  # pixels; images are padded to multiples of it, so that batches have few shapes
GPU_BATCH = 8


class BasicBlock(nn.Module):
    """ResNet's block of two 3 x 3 convolutions (He et al., 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor, sizes: Tensor | None) -> Tensor:
        """``sizes``: of what is the images' in the output; beyond it stays 0, as a convolution's own padding."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = _held(self.bn1(self.conv1(x)).relu_(), sizes)
        return _held((self.bn2(self.conv2(x)).add_(shortcut)).relu_(), sizes)


class RoIPoolModel(nn.Module):
    """``body`` and ``head`` under the names of the public checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        self.body = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *(nn.Sequential(BasicBlock(i, o, stride), BasicBlock(o, o, 1)) for i, o, stride in stages),
        )
        self.head = nn.Sequential(
            nn.Identity(),  # maximum and average pooling, in `scores`
            nn.Flatten(),
            nn.BatchNorm1d(1024),
            nn.Dropout(0.25),
            nn.Linear(1024, 512),
            nn.ReLU(),
            nn.BatchNorm1d(512),
            nn.Dropout(0.5),
            nn.Linear(512, 1),
        )

    def features(self, x: Tensor, sizes: Tensor | None = None) -> Tensor:
        """(B, 512, H / 32, W / 32) of images (B, 3, H, W), each of its own (height, width) in ``sizes`` (B, 2).

        Values outside an image are kept at 0 in every layer, so that images of mixed sizes share one pass and the
        features of each are the same as alone. ``sizes`` None: every image fills its canvas.
        """
        x = self.body[0](_held(x, sizes))
        sizes = _halved(sizes)
        x = _held(self.body[1](x).relu_(), sizes)
        x, sizes = self.body[3](x), _halved(sizes)
        x = _held(x, sizes)  # windows at the border also have a maximum
        for block in (block for stage in list(self.body.children())[4:] for block in stage.children()):
            assert isinstance(block, BasicBlock)
            sizes = _halved(sizes) if block.stride == 2 else sizes
            x = block(x, sizes)
        return x

    def folded(self) -> RoIPoolModel:
        """A copy for inference with batch normalisation folded into the convolutions."""
        net = deepcopy(self).eval()
        pairs: list[tuple[nn.Module, str, str]] = [(net.body, "0", "1")]
        for block in net.modules():
            if isinstance(block, BasicBlock):
                pairs += [(block, "conv1", "bn1"), (block, "conv2", "bn2")]
                pairs += [(block.downsample, "0", "1")] if block.downsample is not None else []
        for owner, convolution, norm in pairs:
            fused = fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm))
            setattr(owner, convolution, fused)
            setattr(owner, norm, nn.Identity())
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    def scores(self, features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, n, n) scores from features and the `pool_ranges` of each image, (B, n * BINS, length) both."""
        bins = pool_axis(pool_axis(features, rows, 2), columns, 3)
        batch, channels, height, width = bins.shape
        n, m = height // BINS, width // BINS
        patches = bins.reshape(batch, channels, n, BINS, m, BINS).permute(0, 2, 4, 1, 3, 5).flatten(4)
        pooled = torch.cat([patches.amax(-1), patches.mean(-1)], dim=-1)
        return self.head(pooled.reshape(-1, 2 * channels)).reshape(batch, n, m)


def pool_ranges(size: int, n: int, count: int) -> np.ndarray:
    """Which of ``count`` features each bin of n patches along ``size`` pixels takes the maximum of.

    (n * BINS, length) indices, the last one repeated where a bin is shorter. The rounding is RoIPool's (Girshick,
    Fast R-CNN, 2015): borders to the nearest feature, halves away from zero; bins overlap rather than leave gaps.
    """
    borders = np.linspace(0, size, n + 1, dtype=np.float64).astype(np.float32) / STRIDE
    borders = np.floor(borders + 0.5).astype(int)
    first, last = borders[:-1], borders[1:]
    extent = np.maximum(last - first + 1, 1)[:, None] / BINS
    bins = np.arange(BINS)
    start = np.clip(np.floor(bins * extent).astype(int) + first[:, None], 0, count).ravel()
    stop = np.clip(np.ceil((bins + 1) * extent).astype(int) + first[:, None], 0, count).ravel()
    start = np.minimum(start, count - 1)  # a bin beyond the last feature takes that feature
    stop = np.maximum(stop, start + 1)
    length = int((stop - start).max())
    return np.minimum(start[:, None] + np.arange(length), stop[:, None] - 1)


def pool_axis(features: Tensor, ranges: Tensor, dim: int) -> Tensor:
    """Maxima over ``ranges`` (B, bins, length) along an axis of (B, C, H, W); a RoI's maximum is separable."""
    batch, bins, length = ranges.shape
    index = ranges.reshape(batch, 1, bins * length, 1).movedim(2, dim)
    shape = list(features.shape)
    shape[dim] = bins * length
    taken = features.gather(dim, index.expand(shape))
    return taken.unflatten(dim, (bins, length)).amax(dim + 1)


class RoiPoolOptions(BatchOptions):
    bfloat16: bool = Field(
        False, description="1.7 times as fast on CPUs with AMX, slower on others; changes features by 0.7 %"
    )


class RoiPoolMapper:
    """Quality maps from a PaQ-2-PiQ checkpoint: the whole n x n map of a batch in one backbone pass.

    Images of mixed sizes share a pass if they pad to the same multiple of CANVAS pixels. ``weights``: the
    public file, ``{"model": state dict}`` or the state dict itself. Scores of 0..100 become [0, 1].
    """

    Options = RoiPoolOptions

    def __init__(
        self, weights: str | None = None, grid: int = 16, patch: int | None = None, **options: Any
    ) -> None:
        given = self.Options.of(options)
        self.grid, self.patch = grid, patch
        self.dtype = torch.bfloat16 if given.bfloat16 else torch.float32
        self.device = pick_device(given.device)
        self.batches = FittingBatches(pick_batch(given.batch_size, self.device, GPU_BATCH))
        state: Any = read_checkpoint(weights, WHAT)
        if isinstance(state, dict) and isinstance(state.get("model"), dict):
            state = state["model"]
        model = RoIPoolModel()
        load_exactly(model, state, weights, WHAT)
        self.model = model.folded().to(self.device)
        self.model.body.to(self.dtype)

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        groups: dict[tuple[tuple[int, int], int], list[int]] = {}
        for i, image in enumerate(images):
            height, width = image.shape[:2]
            canvas = (-(-height // CANVAS) * CANVAS, -(-width // CANVAS) * CANVAS)
            groups.setdefault((canvas, patch_count(height, width, self.grid, self.patch)), []).append(i)
        maps: dict[int, QualityMap] = {}
        for (canvas, n), members in groups.items():
            batch = [images[i] for i in members]
            found = self.batches.map(batch, partial(self._map, canvas=canvas, n=n), canvas)
            maps.update(zip(members, found, strict=True))
        return [maps[i] for i in range(len(images))]

    @torch.no_grad()
    def _map(self, images: Sequence[Image], canvas: tuple[int, int], n: int) -> list[QualityMap]:
        pixels = np.zeros((len(images), *canvas, 3), np.uint8)
        sizes = np.array([image.shape[:2] for image in images])
        for i, image in enumerate(images):
            pixels[i, : image.shape[0], : image.shape[1]] = image
        x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        full = bool((sizes == canvas).all())
        x = x.to(self.dtype)
        features = self.model.features(x, None if full else torch.from_numpy(sizes).to(self.device))
        rows, columns = (_stacked(sizes[:, axis], n).to(self.device) for axis in (0, 1))
        scores = self.model.scores(features.float(), rows, columns) / BEST
        return [QualityMap(values) for values in scores.clamp(0, 1).cpu().numpy()]


def _stacked(sizes: np.ndarray, n: int) -> Tensor:
    """`pool_ranges` of each size, padded to the longest: repeating a feature changes no maximum."""
    ranges = [pool_ranges(int(size), n, -(-int(size) // STRIDE)) for size in sizes]
    longest = max(one.shape[1] for one in ranges)
    return torch.from_numpy(
        np.stack([np.pad(one, ((0, 0), (0, longest - one.shape[1])), mode="edge") for one in ranges])
    )


def _halved(sizes: Tensor | None) -> Tensor | None:
    """The output size of a layer of stride 2: all in the body pad so that it rounds up."""
    return None if sizes is None else (sizes + 1) // 2


def _held(x: Tensor, sizes: Tensor | None) -> Tensor:
    """``x`` with 0 outside each image's own size."""
    return x if sizes is None else x * _inside_of(x.shape[2], x.shape[3], sizes).to(x.dtype)


def _inside_of(height: int, width: int, sizes: Tensor) -> Tensor:
    """(B, 1, height, width), true within each image's own size."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None, :])[:, None]
