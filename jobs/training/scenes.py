"""Simple scenes by program, sharp to the pixel: gradients, gratings, textures, leaves. Needs no data."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.draws import normal, uniform
from training.filters import rounded


def gradients(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Smooth changes between colours, (count, 3, size, size)."""
    corners = torch.rand((count, 3, 3, 3), generator=generator, device=generator.device)
    return F.interpolate(corners, size=(size, size), mode="bicubic", align_corners=True).clamp(0, 1)


def gratings(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Bent stripes of 5 to 40 px between two colours, soft or hard."""
    y, x = _grid(size, generator)
    angle, period = uniform(generator, 0, math.pi, count, 1, 1), uniform(generator, 5, 40, count, 1, 1)
    bend = uniform(generator, 0, 6, count, 1, 1) * (y * uniform(generator, 0.02, 0.1, count, 1, 1)).sin()
    wave = ((x * angle.cos() + y * angle.sin() + bend) * (2 * math.pi / period)).sin()
    return _between((wave * uniform(generator, 0.5, 3, count, 1, 1) + 0.5).clamp(0, 1), count, size, generator)


def textures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Oriented 1/f^a textures, a in 1.2 to 2: cloth, bark, clouds."""
    device = generator.device
    fy, fx = torch.fft.fftfreq(size, device=device)[:, None], torch.fft.rfftfreq(size, device=device)[None]
    angle, stretch = uniform(generator, 0, math.pi, count, 1, 1), uniform(generator, 1, 4, count, 1, 1)
    u, v = fx * angle.cos() + fy * angle.sin(), (fy * angle.cos() - fx * angle.sin()) * stretch
    falloff = (torch.hypot(u, v) + 1 / size) ** -uniform(generator, 1.2, 2.0, count, 1, 1)
    plane = torch.fft.irfft2(torch.fft.rfft2(normal(generator, count, size, size)) * falloff, s=(size, size))
    plane = (plane - plane.mean((1, 2), keepdim=True)) / (plane.std((1, 2), keepdim=True) + 1e-9)
    return _between(torch.sigmoid(plane * uniform(generator, 0.8, 3, count, 1, 1)), count, size, generator)


def leaves(count: int, size: int, generator: torch.Generator, discs: int = 60) -> Tensor:
    """Discs that hide each other, radii by a power law: the statistics of natural images (Lee et al., 2001)."""
    y, x = _grid(size, generator)
    canvas, smallest = gradients(count, size, generator), uniform(generator, 2, 6, count, 1, 1)
    for _ in range(discs):
        share = torch.maximum(uniform(generator, 0, 1, count, 1, 1), (2 * smallest / size).square())
        cy, cx = (uniform(generator, -20, size + 20, count, 1, 1) for _ in range(2))
        inside = (smallest / share.sqrt() + 0.5 - torch.hypot(y - cy, x - cx)).clamp(0, 1)[:, None]
        canvas = canvas + inside * (uniform(generator, 0, 1, count, 3, 1, 1) - canvas)
    return canvas


def scenes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Of all sorts, ``count`` of each, (4 * count, 3, size, size) uint8."""
    made = [kind(count, size, generator) for kind in (gradients, gratings, textures, leaves)]
    return (rounded(torch.cat(made)) * 255).round().to(torch.uint8)


def _grid(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    place = torch.arange(size, device=generator.device, dtype=torch.float32)
    return place[None, :, None], place[None, None]


def _between(mix: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Two gradients mixed by (count, size, size) in [0, 1]."""
    one, other = (gradients(count, size, generator) for _ in range(2))
    return one * mix[:, None] + other * (1 - mix[:, None])
