"""Filters of the textbooks as batched torch functions: images (b, 3, h, w) in [0, 1], parameters shared by all.

They stand for restorers that mend a little and harm a little, and the lying restorers are made of them.
Borders are mirrored. Nothing here rounds or clips; ``levels`` does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def levels(images: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded to the 256 levels of 8 bits."""
    return (images.clamp(0, 1) * 255).round() / 255


def luma(images: Tensor) -> Tensor:
    """(b, 1, h, w), ITU-R BT.601."""
    red, green, blue = images.split(1, 1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def separable(images: Tensor, taps: Tensor) -> Tensor:
    """Each channel filtered by ``taps`` (k,), k odd, along both axes."""
    reach, channels = len(taps) // 2, images.shape[1]
    mode = "reflect" if reach < min(images.shape[-2:]) else "replicate"
    x = F.pad(images, (reach, reach, reach, reach), mode=mode)
    taps = taps.to(images)
    x = F.conv2d(x, taps.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(x, taps.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def gaussian(images: Tensor, sigma: float) -> Tensor:
    reach = max(1, math.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return separable(images, taps / taps.sum())


def box(images: Tensor, reach: int) -> Tensor:
    """The mean over (2 reach + 1)^2 pixels."""
    mode = "reflect" if reach < min(images.shape[-2:]) else "replicate"
    return F.avg_pool2d(F.pad(images, (reach, reach, reach, reach), mode=mode), 2 * reach + 1, 1)


def _neighbours(images: Tensor, reach: int) -> Tensor:
    """All pixels of (2 reach + 1)^2 windows, (b, c, k, h, w)."""
    h, w = images.shape[-2:]
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    side = range(2 * reach + 1)
    return torch.stack([padded[..., y : y + h, x : x + w] for y in side for x in side], 2)


def median(images: Tensor, reach: int = 1) -> Tensor:
    return _neighbours(images, reach).median(2).values


def dilated(images: Tensor, reach: int = 1) -> Tensor:
    """The brightest of (2 reach + 1)^2 pixels, by channel."""
    return F.max_pool2d(images, 2 * reach + 1, 1, reach)


def eroded(images: Tensor, reach: int = 1) -> Tensor:
    return -dilated(-images, reach)


def opened(images: Tensor, reach: int = 1) -> Tensor:
    """Bright marks up to 2 reach px wide vanish."""
    return dilated(eroded(images, reach), reach)


def closed(images: Tensor, reach: int = 1) -> Tensor:
    """Dark marks up to 2 reach px wide vanish."""
    return eroded(dilated(images, reach), reach)


def guided(images: Tensor, reach: int, deviation: float) -> Tensor:
    """The guided filter led by the image itself (He et al., 2010): detail below ``deviation`` is smoothed."""
    mean = box(images, reach)
    variance = (box(images.square(), reach) - mean.square()).clamp_min(0)
    slope = variance / (variance + deviation**2)
    return box(slope, reach) * images + box(mean * (1 - slope), reach)


def unsharp(images: Tensor, sigma: float, amount: float) -> Tensor:
    return images + amount * (images - gaussian(images, sigma))


def wiener(images: Tensor, sigma: float, noise: float) -> Tensor:
    """A Gaussian blur of ``sigma`` undone as far as ``noise`` (power, relative to white) lets it."""
    margin = 16
    x = F.pad(images.float(), (margin,) * 4, mode="reflect")
    height, width = x.shape[-2:]
    v = torch.fft.fftfreq(height, device=x.device)[:, None]
    u = torch.fft.rfftfreq(width, device=x.device)[None]
    transfer = torch.exp(-2 * (math.pi * sigma) ** 2 * (u * u + v * v))
    inverse = transfer / (transfer.square() + noise) * (1 + noise)
    restored = torch.fft.irfft2(torch.fft.rfft2(x) * inverse, (height, width))
    return restored[..., margin:-margin, margin:-margin]


def down_up(images: Tensor, factor: float, mode: str = "bicubic") -> Tensor:
    """Shrunk by ``factor`` with a low-pass filter, and grown again."""
    height, width = images.shape[-2:]
    small = (max(2, round(height / factor)), max(2, round(width / factor)))
    shrunk = F.interpolate(images, small, mode="bicubic", antialias=True, align_corners=False)
    if mode == "nearest":
        return F.interpolate(shrunk, (height, width), mode="nearest")
    return F.interpolate(shrunk, (height, width), mode=mode, align_corners=False)


def non_local(images: Tensor, deviation: float, reach: int = 2) -> Tensor:
    """Non-local means (Buades et al., 2005) with patches of 3 px over (2 reach + 1)^2 places."""
    total, weights = images.clone(), torch.ones_like(images[:, :1])
    height, width = images.shape[-2:]
    padded = F.pad(images, (reach, reach, reach, reach), mode="reflect")
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            if dy == dx == reach:
                continue
            other = padded[..., dy : dy + height, dx : dx + width]
            apart = box((other - images).square().mean(1, keepdim=True), 1)
            weight = torch.exp(-apart / (2 * deviation**2))
            total, weights = total + weight * other, weights + weight
    return total / weights


def moved(images: Tensor, matrices: Tensor) -> Tensor:
    """Images seen through affine maps (b, 2, 3) of normalised coordinates, mirrored at the borders, bilinear."""
    grid = F.affine_grid(matrices.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def bent(images: Tensor, field: Tensor) -> Tensor:
    """Images read at displacements ``field`` (b, 2, h, w), x then y, in pixels."""
    height, width = images.shape[-2:]
    y = torch.arange(height, device=images.device, dtype=images.dtype)
    x = torch.arange(width, device=images.device, dtype=images.dtype)
    gx = (x[None, None] + field[:, 0] + 0.5) * (2 / width) - 1
    gy = (y[None, :, None] + field[:, 1] + 0.5) * (2 / height) - 1
    return F.grid_sample(
        images, torch.stack([gx, gy], -1), "bilinear", padding_mode="reflection", align_corners=False
    )


def filled(images: Tensor, hole: Tensor) -> Tensor:
    """Holes (b, 1, h, w in [0, 1]) filled smoothly from what is around them: push and pull over a pyramid."""
    weight = (1 - hole).clamp(0, 1)
    stack = [(images * weight, weight)]
    while min(stack[-1][0].shape[-2:]) >= 2:
        colour, amount = (F.avg_pool2d(t, 2, ceil_mode=True) for t in stack[-1])
        stack.append((colour, amount))
    colour, amount = stack[-1]
    result = colour / amount.clamp_min(1e-4)
    for colour, amount in reversed(stack[:-1]):
        result = F.interpolate(result, colour.shape[-2:], mode="bilinear", align_corners=False)
        known = (amount * 4).clamp(max=1)
        result = known * colour / amount.clamp_min(1e-4) + (1 - known) * result
    return weight * images + (1 - weight) * result
