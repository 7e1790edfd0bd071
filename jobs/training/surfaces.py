"""Damage to surfaces: texture that is smoothed away, too few levels, halos. As ``damage`` describes its kinds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training import filters
from training.draws import host, uniform
from training.filters import gaussian, geometric, per_sample, rounded


def over_smooth(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Waxy surfaces: a bilateral or a median filter that takes the texture and leaves the edges."""
    if host(generator).random() < 0.6:
        smooth = bilateral(images, geometric(12, 160, severity) / 255, geometric(1.2, 5, severity))
        return rounded(smooth)
    smooth, share = images, per_sample(geometric(0.3, 1.0, severity))
    for turn in range(6):  # so many rounds as the severity asks for
        smooth = torch.where(per_sample(severity * 6 >= turn), median3(smooth), smooth)
    return rounded(images + share * (smooth - images))


def bilateral(images: Tensor, sigma_colour: Tensor, sigma_space: Tensor, reach: int = 4) -> Tensor:
    """A mean of near pixels of like colour (L1 over the channels, as OpenCV has it); sigmas (b,)."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (reach, reach, reach, reach), "reflect")
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    colour, space = per_sample(-0.5 / sigma_colour.square()), per_sample(-0.5 / sigma_space.square())
    for dy in range(2 * reach + 1):
        rows = padded[:, :, dy : dy + height].unfold(3, width, 1)  # (b, 3, h, taps, w): no copy
        far = (rows - images[:, :, :, None]).abs().sum(1, keepdim=True).square() * colour[..., None]
        steps = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32).square()
        weight = torch.exp(far + (steps + (dy - reach) ** 2)[:, None] * space[..., None])
        total = total + (weight * rows).sum(3)
        weights = weights + weight.sum(3)
    return total / weights


def median3(images: Tensor) -> Tensor:
    """The median of 3 x 3 pixels: columns are sorted, then the median of (greatest low, middle, least high)."""
    padded = F.pad(images, (1, 1, 1, 1), "replicate")
    a, b, c = padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :]
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    middle = torch.maximum(low, torch.minimum(high, c))
    low, high = torch.minimum(low, c), torch.maximum(high, c)
    low = torch.maximum(torch.maximum(low[..., :-2], low[..., 1:-1]), low[..., 2:])
    high = torch.minimum(torch.minimum(high[..., :-2], high[..., 1:-1]), high[..., 2:])
    middle = _median(middle[..., :-2], middle[..., 1:-1], middle[..., 2:])
    return _median(low, middle, high)


def _median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))


def posterise(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """36 to 3 levels a channel, with a phase by chance."""
    step = per_sample(1 / geometric(36, 3, severity))
    phase = step * uniform(generator, 0, 1, len(severity), 1, 1, 1)
    return rounded(((images + phase) / step).round() * step - phase)


def ringing(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Halos along edges: an unsharp mask of 0.5 to 8 times, or a sinc cut-off of 0.85 to 0.2 of Nyquist."""
    if host(generator).random() < 0.5:
        soft = gaussian(images, uniform(generator, 0.8, 2.5, len(severity)))
        return rounded(images + per_sample(geometric(0.5, 8, severity)) * (images - soft))
    rows, columns = (filters.sinc_matrix(n, geometric(0.85, 0.2, severity)) for n in images.shape[-2:])
    return rounded(filters.separable(images, rows, columns))
