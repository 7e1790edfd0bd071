"""Colour and tone changed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.classical import gaussian, luma
from training.lies.base import Case, Draw, masked_mean


def hue_turned(case: Case, draw: Draw) -> Tensor:
    angle = draw.sign() * draw.geometric(math.radians(20), math.pi)
    grey = luma(case.before)
    red, blue = case.before[:, :1] - grey, case.before[:, 2:] - grey
    red, blue = (
        red * math.cos(angle) - blue * math.sin(angle), red * math.sin(angle) + blue * math.cos(angle),
    )  # fmt: skip
    green = -(0.299 * red + 0.114 * blue) / 0.587
    return grey + torch.cat([red, green, blue], 1)


def cast(case: Case, draw: Draw) -> Tensor:
    tint = torch.tensor([draw.sign() * draw.geometric(6, 40) / 255 for _ in range(3)], device=case.before.device)
    return case.before + tint.view(1, 3, 1, 1)


def drained(case: Case, draw: Draw) -> Tensor:
    return case.before + draw.uniform(0.4, 1) * (luma(case.before) - case.before)


def saturated(case: Case, draw: Draw) -> Tensor:
    grey = luma(case.before)
    return grey + draw.geometric(1.3, 3) * (case.before - grey)


def channels_swapped(case: Case, draw: Draw) -> Tensor:
    order = draw.numbers.choice(((1, 2, 0), (2, 0, 1), (2, 1, 0), (1, 0, 2), (0, 2, 1)))
    return case.before[:, list(order)]


def negative(case: Case, draw: Draw) -> Tensor:
    return 1 - case.before


def contrast(case: Case, draw: Draw) -> Tensor:
    mean = masked_mean(case)
    return mean + draw.geometric(1.25, 2.5) ** draw.sign() * (case.before - mean)


def gamma(case: Case, draw: Draw) -> Tensor:
    return case.before.clamp(1e-4, 1) ** (draw.geometric(1.2, 2.5) ** draw.sign())


def posterised(case: Case, draw: Draw) -> Tensor:
    steps = draw.geometric(3, 24)
    return (case.before * steps).round() / steps


def thresholded(case: Case, draw: Draw) -> Tensor:
    grey = luma(case.before)
    return torch.sigmoid((grey - gaussian(grey, 6)) * draw.geometric(8, 60)).expand_as(case.before)


def blended_with_another(case: Case, draw: Draw) -> Tensor:
    return case.before + draw.uniform(0.15, 0.5) * (case.other - case.before)
