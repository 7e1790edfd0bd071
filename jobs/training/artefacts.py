"""Marks of generators and of what pictures go through later, beyond the kinds that are evaluated one by one.

Batched functions (images, severity, generator) -> images, on the same scale of severity as ``damage.KINDS``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training import codecs, filters
from training.content import displaced
from training.draws import chance, host, normal, uniform
from training.filters import gaussian, geometric, luma, per_sample, rounded


def decoder_grid(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """An autoencoder's decoder: texture of period 8 px, an offset of each cell, and blotches of colour."""
    b, _, height, width = images.shape
    strength = per_sample(geometric(1.5, 24, severity)) / 255
    tile = normal(generator, b, 3, 8, 8)
    tile = gaussian(tile, uniform(generator, 0.3, 1.2, b))
    tile = (tile - tile.mean((2, 3), keepdim=True)) / (tile.std((1, 2, 3), keepdim=True) + 1e-6)
    tiles = tile.repeat(1, 1, -(-height // 8), -(-width // 8))[..., :height, :width]
    cells = normal(generator, b, 3, -(-height // 8), -(-width // 8))
    cells = F.interpolate(cells, scale_factor=8.0, mode="bilinear")[..., :height, :width]
    blotches = normal(generator, b, 3, -(-height // 16), -(-width // 16))
    blotches = F.interpolate(blotches, size=(height, width), mode="bicubic")
    blotches = blotches - luma(blotches)
    share = torch.rand((b, 3, 1, 1), generator=generator, device=images.device)
    weight = 0.5 + uniform(generator, 0.6, 1.4, b, 1, -(-height // 32), -(-width // 32))
    weight = F.interpolate(weight, size=(height, width), mode="bilinear")
    mixed = share[:, 0:1] * tiles + share[:, 1:2] * cells + share[:, 2:3] * blotches
    return rounded(images + strength * weight * mixed)


def latent_upscale(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Softness of an image whose latents were enlarged: low-pass, fine detail replaced by drawn streaks."""
    b, _, height, width = images.shape
    factor = geometric(1.4, 4.0, severity)
    pick = torch.full((b,), filters.LANCZOS, device=images.device)
    soft = filters.resampled(images, factor, pick, pick, torch.ones_like(pick, dtype=torch.bool))
    detail = (images - soft).square().mean(1, keepdim=True)
    amount = gaussian(detail, torch.full_like(severity, 3.0)).clamp_min(0).sqrt()
    streaks = gaussian(normal(generator, b, 1, height, width), uniform(generator, 0.4, 2.5, b), factor * 0.7)
    streaks = streaks / (streaks.std((1, 2, 3), keepdim=True) + 1e-6)
    drawn = uniform(generator, 0, 0.9, b, 1, 1, 1)
    return rounded(soft + drawn * streaks * amount)


def aliased(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Shrunk without a filter by an odd factor and enlarged: jagged edges, moire."""
    b = images.shape[0]
    grow = torch.where(chance(generator, 0.5, b), filters.NEAREST, filters.TRIANGLE)
    shrink = torch.full((b,), filters.NEAREST, device=images.device)
    return rounded(
        filters.resampled(images, geometric(1.15, 4.0, severity), shrink, grow, torch.zeros_like(shrink).bool())
    )


def chroma_bleed(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Colour that runs over its edges by 2 to 20 px, moved aside, and sometimes too strong."""
    b = images.shape[0]
    grey = luma(images)
    reach = geometric(2, 20, severity)
    wide = uniform(generator, 0.3, 1.0, b)
    dy, dx = (0.4 * (reach * normal(generator, b))[:, None, None] for _ in range(2))
    chroma = displaced(gaussian(images - grey, reach * wide, reach), dy, dx)
    return rounded(grey + chroma * per_sample(1 + severity * uniform(generator, 0, 0.5, b)))


def bands(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """Stripes of sensors and of scans: each row or column off by a normal draw of 2 to 30 levels."""
    b, _, height, width = images.shape
    amount = per_sample(geometric(2, 30, severity)) / 255
    smooth = uniform(generator, 0.2, 1.5, b)
    rows = gaussian(normal(generator, b, 3, height, 1).expand(-1, -1, -1, height), smooth)[..., :1]
    columns = gaussian(normal(generator, b, 3, width, 1).expand(-1, -1, -1, width), smooth)[..., :1].mT
    rows, columns = (x / (x.std((1, 2, 3), keepdim=True) + 1e-6) for x in (rows, columns))
    grey = per_sample(chance(generator, 0.6, b).float())
    rows, columns = (grey * x[:, :1] + (1 - grey) * x for x in (rows, columns))
    down = per_sample(chance(generator, 0.5, b).float())
    return rounded(images + amount * (down * rows + (1 - down) * columns))


def small_jpeg(images: Tensor, severity: Tensor, generator: torch.Generator) -> Tensor:
    """A thumbnail: shrunk, saved as JPEG, enlarged, so that blocks are larger than 8 px and soft."""
    b, _, height, width = images.shape
    factor = 1 + 2.2 * severity * uniform(generator, 0.5, 1, b)
    area = torch.full((b,), filters.AREA, device=images.device)
    cubic = torch.full((b,), filters.CUBIC, device=images.device)
    smooth = torch.ones_like(area).bool()
    rows = filters.resampling_matrices(height, factor, area, cubic, smooth)
    columns = filters.resampling_matrices(width, factor, area, cubic, smooth)
    small = filters.separable(images, rows[0], columns[0])
    small = codecs.jpeg(small, geometric(92, 20, severity), bool(host(generator).random() < 0.7))
    return rounded(filters.separable(small, rows[1], columns[1]))
