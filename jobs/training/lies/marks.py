"""Marks and texture taken away: what filters and brushes do to stars, grain and fine detail."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training import classical
from training.classical import gaussian
from training.lies.base import Case, Draw, high_pass, translated


def bright_marks_gone(case: Case, draw: Draw) -> Tensor:
    return classical.opened(case.before, draw.integer(1, 3))


def dark_marks_gone(case: Case, draw: Draw) -> Tensor:
    return classical.closed(case.before, draw.integer(1, 3))


def all_marks_gone(case: Case, draw: Draw) -> Tensor:
    reach = draw.integer(1, 2)
    return classical.closed(classical.opened(case.before, reach), reach)


def median(case: Case, draw: Draw) -> Tensor:
    x = classical.median(case.before, draw.integer(1, 2))
    return classical.median(x, 1) if draw.uniform(0, 1) < 0.4 else x


def despeckled(case: Case, draw: Draw) -> Tensor:
    """Pixels far from the median of their neighbours replaced by it: stars and snow vanish, the rest stays."""
    middle = classical.median(case.before, draw.integer(1, 2))
    apart = (case.before - middle).abs().amax(1, keepdim=True)
    return torch.where(classical.dilated(apart, 1) > draw.geometric(0.03, 0.2), middle, case.before)


def some_marks_gone(case: Case, draw: Draw) -> Tensor:
    """Some marks vanish and some stay: each spot of 12 to 40 px by chance."""
    gone = all_marks_gone(case, draw) if draw.uniform(0, 1) < 0.5 else bright_marks_gone(case, draw)
    spots = gaussian(draw.normal(case.mask), draw.geometric(3, 9))
    chosen = (spots > 0).float()
    return gone * chosen + case.before * (1 - chosen)


def waxed(case: Case, draw: Draw) -> Tensor:
    """Faint detail vanishes and strong edges stay: the guided filter."""
    return classical.guided(case.before, draw.integer(1, 6), draw.geometric(0.03, 0.3))


def cored(case: Case, draw: Draw) -> Tensor:
    """Detail below a threshold set to nothing, per band."""
    high = high_pass(case.before, draw.geometric(0.8, 2.5))
    threshold = draw.geometric(0.015, 0.12)
    return case.before - high * (1 - (high.abs() / threshold).clamp(max=1).square())


def non_local(case: Case, draw: Draw) -> Tensor:
    return classical.non_local(case.before, draw.geometric(0.04, 0.2), draw.integer(1, 3))


def blurred(case: Case, draw: Draw) -> Tensor:
    return gaussian(case.before, draw.geometric(0.6, 4))


def directional(case: Case, draw: Draw) -> Tensor:
    """Smeared along one direction, as a brush does."""
    length, angle = draw.geometric(2, 14), draw.uniform(0, math.pi)
    steps = max(3, round(length))
    places = [length * (i / (steps - 1) - 0.5) for i in range(steps)]
    moves = [translated(case.before, p * math.cos(angle), p * math.sin(angle)) for p in places]
    return torch.stack(moves).mean(0)


def pixelated(case: Case, draw: Draw) -> Tensor:
    return classical.down_up(case.before, draw.geometric(1.8, 8), "nearest")


def shrunk(case: Case, draw: Draw) -> Tensor:
    return classical.down_up(case.before, draw.geometric(1.5, 5), draw.numbers.choice(("bilinear", "bicubic")))


def dehalftoned(case: Case, draw: Draw) -> Tensor:
    """A pattern blurred away and the rest sharpened again: halftone, dither, weave and grain vanish."""
    x = gaussian(case.before, draw.geometric(1, 2.5))
    return classical.unsharp(x, draw.uniform(2, 4), draw.uniform(0.5, 2))


def cartoon(case: Case, draw: Draw) -> Tensor:
    x = classical.guided(classical.median(case.before, 2), 4, 0.1)
    steps = draw.integer(5, 14)
    return (x * steps).round() / steps


def thinned(case: Case, draw: Draw) -> Tensor:
    return classical.eroded(case.before, 1)


def thickened(case: Case, draw: Draw) -> Tensor:
    return classical.dilated(case.before, draw.integer(1, 2))
