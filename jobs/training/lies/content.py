"""Content replaced: by a colour, by its surroundings, by what lies elsewhere or in another image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training import classical
from training.classical import gaussian
from training.lies.base import Case, Draw, high_pass, masked_mean


def black(case: Case, draw: Draw) -> Tensor:
    return torch.zeros_like(case.before)


def flat(case: Case, draw: Draw) -> Tensor:
    colour = torch.tensor([draw.uniform(0, 1) for _ in range(3)], device=case.before.device)
    return colour.view(1, 3, 1, 1).expand_as(case.before)


def flat_mean(case: Case, draw: Draw) -> Tensor:
    return masked_mean(case).expand_as(case.before)


def erased(case: Case, draw: Draw) -> Tensor:
    """The region filled smoothly from its surroundings."""
    return classical.filled(case.before, (case.mask > 0.02).float())


def wiped(case: Case, draw: Draw) -> Tensor:
    """Only the low frequencies are left: a blur of 6 to 16 px."""
    small = F.interpolate(case.before, scale_factor=0.25, mode="area")
    soft = gaussian(small, draw.geometric(1.5, 4))
    return F.interpolate(soft, case.before.shape[-2:], mode="bilinear", align_corners=False)


def from_elsewhere(case: Case, draw: Draw) -> Tensor:
    """The image's own content from another place."""
    height, width = case.before.shape[-2:]
    dy, dx = draw.integer(height // 6, height // 2), draw.integer(width // 6, width // 2)
    return torch.roll(case.before, (dy, dx), (2, 3))


def from_another(case: Case, draw: Draw) -> Tensor:
    return case.other


def from_another_toned(case: Case, draw: Draw) -> Tensor:
    """Another image's content in this one's colours and brightness."""
    low = gaussian(case.before, 4.0)
    other = high_pass(case.other, 4.0)
    return low + other


def scrambled(case: Case, draw: Draw) -> Tensor:
    """Blocks of 8 or 16 px in another order."""
    size = draw.numbers.choice((8, 16))
    height, width = (s - s % size for s in case.before.shape[-2:])
    x = case.before[..., :height, :width]
    blocks = F.unfold(x, size, stride=size)
    order = torch.randperm(blocks.shape[-1], generator=draw.generator, device=x.device)
    near = torch.arange(blocks.shape[-1], device=x.device)
    mixed = torch.where(torch.rand(len(near), generator=draw.generator, device=x.device) < 0.6, order, near)
    result = case.before.clone()
    result[..., :height, :width] = F.fold(blocks[..., mixed], (height, width), size, stride=size)
    return result


def jittered(case: Case, draw: Draw) -> Tensor:
    """Blocks of 8 to 24 px, each displaced by up to 10 px."""
    cell = draw.integer(8, 24)
    height, width = case.before.shape[-2:]
    coarse = case.before[:, :2, : -(-height // cell), : -(-width // cell)]
    field = draw.normal(coarse) * draw.geometric(1.5, 6)
    field = F.interpolate(field, scale_factor=float(cell), mode="nearest")[..., :height, :width]
    return classical.bent(case.before, field)
