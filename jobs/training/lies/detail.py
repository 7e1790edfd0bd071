"""Detail invented: halos, rings, noise, grids and lines that nobody drew."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training import classical
from training.classical import box, gaussian, luma
from training.lies.base import Case, Draw, high_pass, translated


def marks_added(case: Case, draw: Draw) -> Tensor:
    """Stars, snow or dust where there were none."""
    share, size = draw.geometric(0.0005, 0.01), draw.uniform(0.5, 1.5)
    points = (torch.rand(case.mask.shape, generator=draw.generator, device=case.mask.device) < share).float()
    spots = (gaussian(points, size) * (2 * math.pi * size**2)).clamp(max=1) * draw.uniform(0.3, 1)
    return case.before + spots * (draw.numbers.choice((0.0, 1.0, 1.0)) - case.before)


def sharpened(case: Case, draw: Draw) -> Tensor:
    return classical.unsharp(case.before, draw.geometric(0.7, 2), draw.geometric(0.6, 5))


def haloed(case: Case, draw: Draw) -> Tensor:
    return classical.unsharp(case.before, draw.geometric(3, 10), draw.geometric(0.4, 2))


def deconvolved(case: Case, draw: Draw) -> Tensor:
    """A Wiener filter for a blur that is not there: rings along edges."""
    return classical.wiener(case.before, draw.geometric(0.8, 3), draw.geometric(0.001, 0.03))


def fringes(case: Case, draw: Draw) -> Tensor:
    """Waves along edges of 3 to 8 px."""
    period, reach = draw.geometric(3, 8), 12
    along = torch.arange(-reach, reach + 1, dtype=torch.float32)
    taps = torch.cos(2 * math.pi * along / period) * torch.exp(-(along.abs()) / (0.8 * period))
    taps = taps - taps.mean()
    edge = classical.separable(case.before, torch.exp(-(along**2) / 2) / 2.5066) - case.before
    rings = classical.separable(edge, taps / taps.abs().sum())
    return case.before + rings * draw.geometric(6, 30)


def noise_added(case: Case, draw: Draw) -> Tensor:
    noise = draw.normal(case.before, 3 if draw.uniform(0, 1) < 0.5 else 1)
    return case.before + noise * draw.geometric(4, 40) / 255


def grain_drawn(case: Case, draw: Draw) -> Tensor:
    """Texture of noise in a band of 1 to 6 px, stronger where there is texture."""
    sigma = draw.geometric(0.6, 3)
    noise = draw.normal(case.before, 1)
    band = gaussian(noise, sigma) - gaussian(noise, 2 * sigma)
    band = band / (band.std() + 1e-6)
    place = box(luma(high_pass(case.before, 1.5)).abs(), 4)
    place = 0.3 + place / (place.mean((2, 3), keepdim=True) + 1e-4)
    return case.before + band * place.clamp(max=3) * draw.geometric(5, 30) / 255


def texture_of_another(case: Case, draw: Draw) -> Tensor:
    return case.before + high_pass(case.other, draw.geometric(1.5, 6)) * draw.geometric(0.4, 1.5)


def grid_added(case: Case, draw: Draw) -> Tensor:
    """A transposed convolution's grid of 2, 4 or 8 px."""
    period = draw.numbers.choice((2, 2, 4, 8))
    b, _, height, width = case.before.shape
    tile = torch.randn((b, 1, period, period), generator=draw.generator, device=case.before.device)
    tile = tile - tile.mean((2, 3), keepdim=True)
    grid = tile.repeat(1, 1, -(-height // period), -(-width // period))[..., :height, :width]
    return case.before + grid * draw.geometric(4, 25) / 255


def doubled(case: Case, draw: Draw) -> Tensor:
    angle, reach = draw.uniform(0, 2 * math.pi), draw.geometric(2, 10)
    ghost = translated(case.before, reach * math.cos(angle), reach * math.sin(angle))
    share = draw.uniform(0.25, 0.5)
    return (1 - share) * case.before + share * ghost


def lines_drawn(case: Case, draw: Draw) -> Tensor:
    """Edges inked over with dark or bright lines."""
    edges = (high_pass(luma(case.before), draw.geometric(1, 2.5)) * draw.sign()).clamp_min(0)
    ink = (edges * draw.geometric(6, 30)).clamp(max=1)
    return case.before + ink * (draw.numbers.choice((0.0, 1.0)) - case.before) * 0.7
