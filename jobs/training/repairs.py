"""Honest restorers: the truth in part or drawn anew, and the filters that all have. Batched torch functions.

``REPAIRS`` by name, with the signature of the lies. Honest is the intent: what they did to a cell the labels
say, and a filter on the wrong damage does harm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from training import classical
from training.classical import box, gaussian, luma
from training.lies.base import Case, Draw, Make


def truth(case: Case, draw: Draw) -> Tensor:
    return case.clean


def truth_in_part(case: Case, draw: Draw) -> Tensor:
    """30 to 100 % of the way."""
    return case.before + draw.uniform(0.3, 1) * (case.clean - case.before)


def truth_in_places(case: Case, draw: Draw) -> Tensor:
    """The truth in some spots, nothing in others."""
    spots = gaussian(draw.normal(case.mask), draw.geometric(8, 24))
    share = torch.sigmoid(spots / (spots.std() + 1e-6) * 8)
    return case.before + share * (case.clean - case.before)


def truth_softened(case: Case, draw: Draw) -> Tensor:
    return gaussian(case.clean, draw.geometric(0.35, 1.2))


def truth_sharpened(case: Case, draw: Draw) -> Tensor:
    return classical.unsharp(case.clean, draw.geometric(0.7, 1.5), draw.uniform(0.1, 0.6))


def truth_noisy(case: Case, draw: Draw) -> Tensor:
    return case.clean + draw.normal(case.clean) * draw.geometric(1, 5) / 255


def truth_toned(case: Case, draw: Draw) -> Tensor:
    """The truth in the colours of before: a restorer does not know another white."""
    return case.clean + draw.uniform(0.3, 1) * (gaussian(case.before, 8) - gaussian(case.clean, 8))


def drawn_anew(case: Case, draw: Draw) -> Tensor:
    """The truth whose finest band is another of the same spectrum and strength: what a generative model draws."""
    sigma = draw.geometric(0.7, 2.5)
    low = gaussian(case.clean, sigma)
    high = case.clean - low
    spectrum = torch.fft.rfft2(high).abs()
    noise = torch.fft.rfft2(draw.normal(high, 1))
    random = torch.fft.irfft2(spectrum * noise / (noise.abs() + 1e-6), high.shape[-2:])
    there = box(luma(high).square(), 3).sqrt()
    drawn = box(luma(random).square(), 3).sqrt()
    random = random * (there / (drawn + 1e-3)).clamp(max=4)
    share = draw.uniform(0.3, 1)
    return low + (1 - share) * high + share * random


def wobbled(case: Case, draw: Draw) -> Tensor:
    """The truth bent by less than a pixel."""
    field = gaussian(draw.normal(case.clean, 2), draw.geometric(4, 12))
    return classical.bent(case.clean, field / (field.std() + 1e-6) * draw.geometric(0.15, 0.5))


def gaussian_filter(case: Case, draw: Draw) -> Tensor:
    return gaussian(case.before, draw.geometric(0.4, 2))


def median_filter(case: Case, draw: Draw) -> Tensor:
    return classical.median(case.before, draw.integer(1, 2))


def guided_filter(case: Case, draw: Draw) -> Tensor:
    return classical.guided(case.before, draw.integer(1, 4), draw.geometric(0.02, 0.25))


def non_local_filter(case: Case, draw: Draw) -> Tensor:
    return classical.non_local(case.before, draw.geometric(0.02, 0.2))


def unsharp_filter(case: Case, draw: Draw) -> Tensor:
    return classical.unsharp(case.before, draw.geometric(0.7, 2.5), draw.geometric(0.2, 2))


def wiener_filter(case: Case, draw: Draw) -> Tensor:
    return classical.wiener(case.before, draw.geometric(0.6, 2.5), draw.geometric(0.001, 0.1))


def denoised_sharpened(case: Case, draw: Draw) -> Tensor:
    x = classical.guided(case.before, 2, draw.geometric(0.02, 0.15))
    return classical.unsharp(x, draw.geometric(0.7, 2), draw.geometric(0.3, 2))


def directional_deblur(case: Case, draw: Draw) -> Tensor:
    """Unsharp along one direction."""
    angle, reach = draw.uniform(0, math.pi), draw.geometric(1, 4)
    height, width = case.before.shape[-2:]
    dx, dy = 2 * reach * math.cos(angle) / width, 2 * reach * math.sin(angle) / height
    there = torch.tensor([[1, 0, dx], [0, 1, dy]], device=case.before.device).expand(len(case.before), 2, 3)
    back = torch.tensor([[1, 0, -dx], [0, 1, -dy]], device=case.before.device).expand(len(case.before), 2, 3)
    mean = (classical.moved(case.before, there) + classical.moved(case.before, back)) / 2
    return case.before + draw.geometric(0.2, 1) * (case.before - mean)


def resampled(case: Case, draw: Draw) -> Tensor:
    return classical.down_up(case.before, draw.geometric(1.2, 3))


_TRUTHS: tuple[Make, ...] = (
    truth, truth_in_part, truth_in_places, truth_softened, truth_sharpened, truth_noisy, truth_toned, drawn_anew,
    wobbled,
)  # fmt: skip
_FILTERS: tuple[Make, ...] = (
    gaussian_filter, median_filter, guided_filter, non_local_filter, unsharp_filter, wiener_filter,
    denoised_sharpened, directional_deblur, resampled,
)  # fmt: skip

TRUTHS = tuple(make.__name__ for make in _TRUTHS)
"""Made from the truth; on undamaged images they are none."""

FILTERS = tuple(make.__name__ for make in _FILTERS)
"""Made from before alone."""

REPAIRS: Mapping[str, Make] = {make.__name__: make for make in (*_TRUTHS, *_FILTERS)}


def repair(name: str, case: Case, draw: Draw) -> Tensor:
    """``before`` repaired by the restorer of that name where the mask is, in 8-bit levels."""
    made = REPAIRS[name](case, draw)
    return classical.levels(case.before + case.mask * (made - case.before))
