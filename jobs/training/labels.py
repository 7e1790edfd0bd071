"""What "better" means: a label and a weight for each cell of 16 px, from the truth, the image before and after.

Which term decides where:

- **A cell that nobody sees changed** (less than two levels) has no weight.
- **The truth itself**, offered as the repair, is better at any severity, and a change of what was **undamaged** is
  worse, whatever features say: both are decided by the pixels alone.
- **Elsewhere a perceptual distance and structure decide together**, by the logarithm of the ratio of before's
  distance from the truth to after's. Structure is the correlation of luma with the truth in small windows at two
  scales, each of which counts as far as *before* still shows it: where damage left nothing, detail may be drawn,
  and half of the perceptual distance compares the statistics of features around the cell, not their places.
- **The low frequencies are the floor** (PSNR's part): where after's error of 8 px means or of the cell's mean
  colour grew beyond before's, it contradicts what before shows, and is worse whatever the rest says. So is a cell
  whose worst 2 x 2 pixels err far more than before's: a star that went, a speck that came.

A difference of less than ``MARGIN`` is no gain: the label rises through 1/2 there and not at equality.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from training.classical import box, luma
from training.perceptual import Features, between

CELL = 16
"""Pixels along a side of a judged cell."""

VISIBLE = 2 / 255
"""A change below this many levels everywhere in a cell is not seen."""

FEATURE_FLOOR = 0.01
STRUCTURE_FLOOR = 0.03
"""Distances at which a viewer begins to see a difference: below them, ratios mean little."""

FEATURE_SHARE = 0.6
"""Weight of the perceptual log ratio; structure has the rest, as far as before shows any."""

MARGIN = 0.08
SLOPE = 12.0
"""label = sigmoid(SLOPE (log ratio - MARGIN))."""

FLOOR_LEVELS = 3 / 255
FLOOR_RATIO = 1.25
"""After's low frequencies may err by this much more than before's."""

MARK_LEVELS = 24 / 255
MARK_RATIO = 2.0
"""And its worst 2 x 2 pixels by this much: detail that is drawn anew errs by up to twice what is missing."""


class Labels(NamedTuple):
    """``better``: in [0, 1], 1 where after is nearer the truth; ``weight``: in [0, 1], 0 where nothing is seen.

    ``apart_before`` and ``apart_after``: log distances of structure from the truth (auxiliary targets). All
    (b, 1, h / 16, w / 16).
    """

    better: Tensor
    weight: Tensor
    apart_before: Tensor
    apart_after: Tensor


def _cells(plane: Tensor) -> Tensor:
    return F.avg_pool2d(plane, CELL)


def _worst(plane: Tensor) -> Tensor:
    return F.max_pool2d(plane, CELL)


def correlation(truth: Tensor, other: Tensor, reach: int = 3) -> Tensor:
    """SSIM's structure times contrast on luma (b, 1, h, w) in windows of 2 reach + 1 px, in [-1, 1].

    The constant is that of a deviation of 3 levels: flat places agree.
    """
    mean_t, mean_o = box(truth, reach), box(other, reach)
    var_t = box(truth.square(), reach) - mean_t.square()
    var_o = box(other.square(), reach) - mean_o.square()
    both = box(truth * other, reach) - mean_t * mean_o
    constant = (3 / 255) ** 2
    return (2 * both + constant) / (var_t.clamp_min(0) + var_o.clamp_min(0) + constant)


def structures(truth: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of structure in [0, 2] by cell, at full size and at a quarter of it."""
    a, b = luma(truth), luma(other)
    fine = _cells(1 - correlation(a, b))
    coarse = 1 - correlation(F.avg_pool2d(a, 4), F.avg_pool2d(b, 4), 2)
    return fine, F.avg_pool2d(coarse, CELL // 4)


def low_error(truth: Tensor, other: Tensor) -> Tensor:
    """Error of the low frequencies by cell: the mean over 8 px blocks' means, and the cell's mean colour's."""
    difference = other - truth
    blocks = F.avg_pool2d(F.avg_pool2d(difference, 8).square().mean(1, keepdim=True), 2).sqrt()
    colour = _cells(difference).abs().amax(1, keepdim=True)
    return torch.maximum(blocks, colour)


def mark_error(truth: Tensor, other: Tensor) -> Tensor:
    """Error of the worst 2 x 2 pixels' mean luma by cell."""
    return F.max_pool2d(F.avg_pool2d(luma(other - truth), 2).abs(), CELL // 2)


@torch.no_grad()
def label(features: Features, truth: Tensor, before: Tensor, after: Tensor) -> Labels:
    """Images (b, 3, h, w) in [0, 1], sides multiples of 16, float32."""
    fine_before, coarse_before = structures(truth, before)
    fine_after, coarse_after = structures(truth, after)
    shown = (1 - fine_before).clamp(0, 1)  # how much of the fine structure before still shows
    shown_coarse = (1 - coarse_before).clamp(0, 1)
    both = shown + shown_coarse + 1e-3
    structure_before = (shown * fine_before + shown_coarse * coarse_before) / both
    structure_after = (shown * fine_after + shown_coarse * coarse_after) / both

    by_features = torch.zeros_like(fine_before)
    undecided = ((before != truth).flatten(1).any(1) & (after != truth).flatten(1).any(1)).nonzero()[:, 0]
    if len(undecided):  # elsewhere the pixels alone decide
        at = _rounded_up(undecided)
        by_features[at] = _by_features(features, truth[at], before[at], after[at], shown[at])
    by_structure = _log_ratio(structure_before, structure_after, STRUCTURE_FLOOR)
    vote = (1 - FEATURE_SHARE) * torch.maximum(shown, shown_coarse)
    ratio = (1 - vote) * by_features + vote * by_structure
    better = torch.sigmoid(SLOPE * (ratio - MARGIN))

    low_before, low_after = low_error(truth, before), low_error(truth, after)
    beyond = (low_after - FLOOR_RATIO * low_before) / FLOOR_LEVELS  # 1: at the floor
    better = better * (2 - beyond).clamp(0, 1)
    beyond = (mark_error(truth, after) - MARK_RATIO * mark_error(truth, before)) / MARK_LEVELS
    better = better * (2 - beyond).clamp(0, 1)

    change = _worst((after - before).abs().amax(1, keepdim=True))
    wrong_before = _worst((before - truth).abs().amax(1, keepdim=True))
    wrong_after = _worst((after - truth).abs().amax(1, keepdim=True))
    slack = 0.6 / 255
    better = torch.where(wrong_before < VISIBLE - slack, torch.zeros_like(better), better)
    better = torch.where(wrong_after < VISIBLE - slack, torch.ones_like(better), better)
    amount = _cells((after - before).abs().amax(1, keepdim=True))
    weight = (amount / (4 / 255) + structures(before, after)[0] / 0.2).clamp(max=1)
    weight = 0.1 + 0.9 * weight
    weight = torch.where(change < VISIBLE - slack, torch.zeros_like(weight), weight)
    return Labels(better, weight, _log(fine_before + coarse_before), _log(fine_after + coarse_after))


def _by_features(features: Features, truth: Tensor, before: Tensor, after: Tensor, shown: Tensor) -> Tensor:
    """The perceptual log ratio by cell. Where before shows little, half of it compares looks instead of places."""
    device = truth.device.type
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        (unit, look), of_before, of_after = (features.both(x) for x in (truth, before, after))
    (placed_b, look_b), (placed_a, look_a) = (
        (F.avg_pool2d(between(unit, u).map, 2), F.avg_pool2d(between(look, v).map, 2))
        for u, v in (of_before, of_after)
    )
    by_place = _log_ratio(placed_b, placed_a, FEATURE_FLOOR)
    by_look = _log_ratio(look_b, look_a, FEATURE_FLOOR / 2)
    return by_place + (1 - shown) * 0.5 * (by_look - by_place)


def _rounded_up(index: Tensor, multiple: int = 16) -> Tensor:
    """``index`` with its last entry repeated: few lengths, for a GPU chooses kernels anew for each."""
    missing = -len(index) % multiple if index.device.type == "cuda" else 0
    return torch.cat([index, index[-1:].expand(missing)])


def _log_ratio(before: Tensor, after: Tensor, floor: float) -> Tensor:
    return ((before.clamp_min(0) + floor) / (after.clamp_min(0) + floor)).log()


def _log(distance: Tensor) -> Tensor:
    return (distance.clamp_min(0) + FEATURE_FLOOR).log()
