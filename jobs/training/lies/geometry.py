"""Content turned, mirrored, moved and bent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training import classical
from training.classical import gaussian
from training.lies.base import Case, Draw, translated


def _centre(mask: Tensor) -> Tensor:
    """Centroids of masks in normalised coordinates, (b, 2): x, y."""
    height, width = mask.shape[-2:]
    y = torch.linspace(-1, 1, height, device=mask.device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=mask.device).view(1, 1, 1, -1)
    total = mask.sum((1, 2, 3)) + 1e-6
    return torch.stack([(mask * x).sum((1, 2, 3)) / total, (mask * y).sum((1, 2, 3)) / total], 1)


def _about_centre(case: Case, linear: list[list[float]]) -> Tensor:
    """``before`` under a linear map about the centre of its mask."""
    centre, matrix = _centre(case.mask), torch.tensor(linear, device=case.mask.device)
    shift = centre - centre @ matrix.T
    return classical.moved(case.before, torch.cat([matrix.expand(len(centre), 2, 2), shift[:, :, None]], 2))


def _turn(degrees: float) -> list[list[float]]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[c, -s], [s, c]]


def upside_down(case: Case, draw: Draw) -> Tensor:
    return _about_centre(case, [[-1.0, 0.0], [0.0, -1.0]])


def mirrored(case: Case, draw: Draw) -> Tensor:
    across = draw.uniform(0, 1) < 0.5
    return _about_centre(case, [[-1.0, 0.0], [0.0, 1.0]] if across else [[1.0, 0.0], [0.0, -1.0]])


def rotated(case: Case, draw: Draw) -> Tensor:
    """By 3 to 30 degrees."""
    return _about_centre(case, _turn(draw.sign() * draw.geometric(3, 30)))


def zoomed(case: Case, draw: Draw) -> Tensor:
    scale = draw.geometric(1.06, 1.6) ** draw.sign()
    return _about_centre(case, [[scale, 0.0], [0.0, scale]])


def shifted(case: Case, draw: Draw) -> Tensor:
    angle, reach = draw.uniform(0, 2 * math.pi), draw.geometric(1, 12)
    return translated(case.before, reach * math.cos(angle), reach * math.sin(angle))


def shifted_truth(case: Case, draw: Draw) -> Tensor:
    """The truth in the wrong place."""
    angle, reach = draw.uniform(0, 2 * math.pi), draw.geometric(2, 12)
    return translated(case.clean, reach * math.cos(angle), reach * math.sin(angle))


def smeared(case: Case, draw: Draw) -> Tensor:
    """Shapes bent with a short wavelength: letters become glyphs."""
    sigma = draw.geometric(2, 8)
    field = gaussian(draw.normal(case.before, 2), sigma)
    field = field / (field.std() + 1e-6) * sigma * draw.geometric(0.3, 1.2)
    return classical.bent(case.before, field)


def glyphs(case: Case, draw: Draw) -> Tensor:
    """The truth with its shapes bent: detail that is clean, sharp and wrong."""
    sigma = draw.geometric(3, 8)
    field = gaussian(draw.normal(case.clean, 2), sigma)
    return classical.bent(case.clean, field / (field.std() + 1e-6) * sigma * draw.geometric(0.5, 1.2))
