"""Veils: regular textures that lie evenly over a whole picture. They are its look, not damage.

A screen's mesh, scan lines, a weave, a raster over photographs, drawings and everything else. A generator's grid
is irregular within its period and stronger on texture; a veil is regular and the same everywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.draws import chance, normal, uniform
from training.filters import per_sample, rounded

PERIODS = (2, 3, 3, 4, 4, 5, 6, 8)
DEPTH = (0.012, 0.3)
"""Share of the brightness that a veil takes at its darkest, even on a logarithmic scale."""


def veil(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Patterns in [0, 1], (count, 3, height, width): lines, grids, dots, checks and weaves, upright or slanted.

    One in four differs by channel as the stripes of a screen do.
    """
    y, x = (torch.arange(n, device=generator.device)[None, None] for n in (height, width))
    y, x = y[..., None], x[:, :, None]
    shape, wave, turn = (
        torch.randint(n, (count, 1, 1, 1), generator=generator, device=generator.device) for n in (6, 3, 4)
    )
    shift = torch.randint(8, (count, 1, 1, 1), generator=generator, device=generator.device)
    stripes = (
        per_sample(chance(generator, 0.25, count)) * torch.arange(3, device=generator.device)[None, :, None, None]
    )
    along = torch.where(turn == 3, x - y, y) + shift
    across = torch.where(turn == 3, x + y, x) + shift + stripes
    p, q = (_periods(count, generator) for _ in range(2))
    q = torch.where(per_sample(chance(generator, 0.7, count)), p, q)
    across = across + torch.where(shape == 4, along // p % 2 * (q // 2), 0)  # every other row is shifted
    u, v = (_wave(place % period, period, wave) for place, period in ((along, p), (across, q)))
    lines = torch.where(turn == 1, v, u)
    checks = u * v + (1 - u) * (1 - v)
    return torch.where(
        shape == 0, lines, torch.where(shape == 1, torch.maximum(u, v), torch.where(shape == 2, u * v, checks))
    ).expand(count, 3, height, width)


def veiled(images: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """A ``share`` of images (b, 3, h, w) with a veil over each: dark, or lighter and darker. In 8-bit levels."""
    b, _, height, width = images.shape
    pattern = veil(b, height, width, generator)
    low, high = map(math.log, DEPTH)
    depth = per_sample(uniform(generator, low, high, b).exp())
    tint = 1 + 0.3 * normal(generator, b, 3, 1, 1) * per_sample(chance(generator, 0.3, b).float())
    pattern = depth * tint * (pattern - per_sample(chance(generator, 0.5, b)) * pattern.mean((2, 3), keepdim=True))
    # light goes through a screen: most veils scale what is behind, some are laid on it
    base = torch.where(per_sample(chance(generator, 0.7, b)), images, 0.5)
    return torch.where(per_sample(chance(generator, share, b)), rounded(images - base * pattern), images)


def _periods(count: int, generator: torch.Generator) -> Tensor:
    of = torch.tensor(PERIODS, device=generator.device)
    return of[torch.randint(len(PERIODS), (count, 1, 1, 1), generator=generator, device=generator.device)]


def _wave(place: Tensor, period: Tensor, wave: Tensor) -> Tensor:
    """One line of a pixel, half and half, or a cosine; in [0, 1]."""
    cosine = 0.5 + 0.5 * (2 * math.pi * (place + 0.5) / period).cos()
    half = (place < (period + 1) // 2).float()
    return torch.where(wave == 0, (place == 0).float(), torch.where(wave == 1, half, cosine))
