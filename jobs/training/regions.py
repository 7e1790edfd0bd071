"""Where damage lies: soft-edged masks in [0, 1], a batch at a time on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.draws import normal, uniform
from training.filters import gaussian


def soft_regions(count: int, height: int, width: int, generator: torch.Generator, smallest: float = 0.1) -> Tensor:
    """Ellipses, rectangles, half planes and blobs, (count, 1, height, width).

    Radii are ``smallest`` to half of the sides. Edges fade over up to a tenth of the shorter side; the peak is 1
    unless the region is thinner than that.
    """
    device = generator.device
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5)[None, :, None] / height - 0.5
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5)[None, None] / width - 0.5
    cy, cx = (uniform(generator, -0.4, 0.4, count, 1, 1) for _ in range(2))
    low, high = math.log(smallest), math.log(0.5)
    ry, rx = (uniform(generator, low, high, count, 1, 1).exp() for _ in range(2))
    angle = uniform(generator, 0, 2 * math.pi, count, 1, 1)
    u = (x - cx) * angle.cos() + (y - cy) * angle.sin()
    v = (y - cy) * angle.cos() - (x - cx) * angle.sin()
    ellipse = (u / rx).square() + (v / ry).square() < 1
    rectangle = ((x - cx).abs() < 0.9 * rx) & ((y - cy).abs() < 0.9 * ry)
    side = x * angle.cos() + y * angle.sin() > uniform(generator, -0.25, 0.25, count, 1, 1)
    smooth = F.interpolate(normal(generator, count, 1, 6, 6), size=(height, width), mode="bicubic")[:, 0]
    blob = smooth > uniform(generator, 0.1, 0.5, count, 1, 1)
    shape = torch.randint(4, (count, 1, 1), generator=generator, device=device)
    round_or_square, large = torch.where(shape == 0, ellipse, rectangle), torch.where(shape == 2, side, blob)
    mask = torch.where(shape < 2, round_or_square, large)
    fade = uniform(generator, 0, 0.035, count) * min(height, width)
    return gaussian(mask[:, None].float(), fade).clamp(0, 1)
