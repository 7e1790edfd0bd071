"""Damage to content: what is shown is in the wrong place. Batched functions (images, severity, generator)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.draws import normal, uniform
from training.filters import gaussian, geometric, per_sample, rounded


def colour_shift(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Colour planes that drift apart by 0.6 to 7 px, under a tint of 1 to 30 grey levels."""
    b = images.shape[0]
    reach, angle = geometric(0.6, 7, severity), uniform(generator, 0, 2 * math.pi, b)
    sign = torch.tensor([1.0, 0.0, -1.0], device=images.device)
    dy, dx = (part[:, None] * sign for part in (reach * angle.sin(), reach * angle.cos()))
    moved = displaced(images.flatten(0, 1)[:, None], dy.flatten()[:, None, None], dx.flatten()[:, None, None])
    tint = normal(generator, b, 3) * geometric(1, 30, severity)[:, None] / 255
    return rounded(moved.view_as(images) + tint[..., None, None])


def displaced(images: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """(b, c, h, w) read at places moved by (b, 1 or h, 1 or w) pixels, bilinear, mirrored at the borders."""
    height, width = images.shape[-2:]
    y = torch.arange(height, device=images.device, dtype=torch.float32)[:, None] + dy
    x = torch.arange(width, device=images.device, dtype=torch.float32) + dx
    y, x = torch.broadcast_tensors(2 * y / (height - 1) - 1, 2 * x / (width - 1) - 1)
    return F.grid_sample(images, torch.stack([x, y], -1), "bilinear", "reflection", align_corners=True)


def patch_swap(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Blocks of 8 to 24 px in the wrong place, as after lost motion vectors: each 1 to 40 px away from its own.

    All blocks are moved, for a block that is in the wrong place looks the same however many others are.
    """
    b, _, height, width = images.shape
    size = uniform(generator, 8, 25, b).floor()[:, None]
    reach = geometric(1, 40, severity)[:, None, None]
    blocks = max(height, width) // 8 + 1
    angle = uniform(generator, 0, 2 * math.pi, b, blocks, blocks)
    row = (torch.arange(height, device=images.device) / size).long()  # (b, h)
    column = (torch.arange(width, device=images.device) / size).long()
    sample = torch.arange(b, device=images.device)[:, None, None]
    turned = angle[sample, row[:, :, None], column[:, None, :]]
    dy, dx = (reach * turned.sin()).round().long(), (reach * turned.cos()).round().long()
    y = _reflected(torch.arange(height, device=images.device)[None, :, None] + dy, height)
    x = _reflected(torch.arange(width, device=images.device)[None, None, :] + dx, width)
    return images.permute(0, 2, 3, 1)[sample, y, x].permute(0, 3, 1, 2)


def _reflected(place: Tensor, size: int) -> Tensor:
    place = place.abs()
    return torch.where(place >= size, 2 * size - 2 - place, place).clamp(0, size - 1)


def warp(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Wobbling shapes: a smooth displacement with a wavelength of 8 to 28 px that bends lines by 0.08 to 1.6.

    What is seen of a warp is how much it bends (the displacement's slope), not how far it moves.
    """
    b, _, height, width = images.shape
    field = gaussian(normal(generator, b, 2, height, width), uniform(generator, 3, 9, b))
    slope = field.diff(dim=2).abs().mean((1, 2, 3)) + field.diff(dim=3).abs().mean((1, 2, 3))
    field = field * per_sample(geometric(0.08, 1.6, severity) / (slope / 2 + 1e-9))
    return rounded(displaced(images, field[:, 0], field[:, 1]))
