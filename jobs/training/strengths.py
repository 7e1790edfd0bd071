"""Strength planes as a restorer gets them from a quality map, simulated: batched torch functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.draws import host, normal, uniform
from training.filters import per_sample, rounded
from training.regions import soft_regions

LQ, MQ, HQ = 0.4, 0.7, 0.8
"""The default bounds of the quality map: between them the pipelines ramp the strength up."""


def estimated_quality(severity: Tensor, generator: torch.Generator) -> Tensor:
    """1 - severity (b, 1, h, w) as a mapper would tell it: means of coarse patches, with errors, flattened."""
    b, _, height, width = severity.shape
    n = int(host(generator).integers(2, 9))
    grid = 1 - F.adaptive_avg_pool2d(severity, n)
    grid = grid + normal(generator, b, 1, 1, 1) * 0.07 + normal(generator, b, 1, n, n) * 0.05
    return F.interpolate(grid.clamp(0, 1), size=(height, width), mode="bicubic").clamp(0, 1)


def simulated_strength(quality: Tensor, generator: torch.Generator) -> Tensor:
    """Strengths (b, 1, h, w) as the inpainter gets them, as the enhancer does, or a level of a user's choice.

    Never 0 everywhere: such a sample would teach nothing.
    """
    b, _, height, width = quality.shape
    choice = per_sample(torch.rand(b, generator=generator, device=quality.device))
    inpaint = ((MQ - quality) / (MQ - LQ)).clamp(0, 1)
    enhance = 0.5 * ((HQ - quality) / (HQ - LQ)).clamp(0, 1)
    level = uniform(generator, 0.05, 1, b, 1, 1, 1).expand_as(quality)
    plane = torch.where(choice < 0.5, inpaint, torch.where(choice < 0.75, enhance, level))
    region = soft_regions(b, height, width, generator) * uniform(generator, 0.1, 1, b, 1, 1, 1)
    return torch.where(plane.amax((1, 2, 3), keepdim=True) < 0.05, region, plane)


def stage_one(images: Tensor, quality: Tensor, generator: torch.Generator) -> Tensor:
    """I1 = W G + (1 - W) I, W = max(B_LQ - Q, 0) (Q-Refine, equation 3): what the inpainter gets in mode paper."""
    weight = (LQ - quality).clamp_min(0)
    noise = (0.5 + 0.25 * normal(generator, *images.shape)).clamp(0, 1)
    return rounded(weight * noise + (1 - weight) * images)
