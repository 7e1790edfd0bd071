"""Linear filters with parameters per sample, batched: what most kinds of damage are made of.

A separable filter is a matrix for the rows and one for the columns, so blur, low-pass and any resampling are two
matrix products with the samples' own matrices: no loop over samples, any factor, borders renormalised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

AREA, TRIANGLE, CUBIC, LANCZOS, NEAREST = range(5)
"""Kernels of resampling."""

LUMA = (0.299, 0.587, 0.114)


def geometric(mild: float, ruined: float, severity: Tensor) -> Tensor:
    """The parameter at ``severity``: ``mild`` at 0, ``ruined`` at 1, in equal ratios between."""
    return mild * torch.exp(severity * math.log(ruined / mild))


def rounded(images: Tensor) -> Tensor:
    """To 8-bit levels in [0, 1]."""
    return (images * 255).round().clamp(0, 255) / 255


def per_sample(values: Tensor) -> Tensor:
    """(b,) -> (b, 1, 1, 1)."""
    return values[:, None, None, None]


def luma(images: Tensor) -> Tensor:
    """(b, 3, h, w) -> (b, 1, h, w), BT.601."""
    red, green, blue = images.split(1, 1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (b, c, h, w), ``rows`` (b, i, h) and ``columns`` (b, j, w) -> (b, c, i, j)."""
    return rows[:, None] @ images @ columns[:, None].mT


def gaussian_matrix(size: int, sigma: Tensor) -> Tensor:
    """(b, size, size) for sigmas (b,) in pixels; rows add up to 1."""
    place = torch.arange(size, device=sigma.device, dtype=torch.float32)
    distance = place[:, None] - place[None]
    weights = torch.exp(-0.5 * (distance / sigma.clamp_min(0.05)[:, None, None]).square())
    return weights / weights.sum(-1, keepdim=True)


def gaussian(images: Tensor, sigma: Tensor, sigma_x: Tensor | None = None) -> Tensor:
    """Blurs (b, c, h, w) by sigmas (b,) in pixels; ``sigma_x`` along rows where it differs."""
    rows = gaussian_matrix(images.shape[-2], sigma)
    if sigma_x is None and images.shape[-1] == images.shape[-2]:
        return separable(images, rows, rows)
    return separable(images, rows, gaussian_matrix(images.shape[-1], sigma if sigma_x is None else sigma_x))


def sinc_matrix(size: int, cutoff: Tensor, lobes: float = 12.0) -> Tensor:
    """(b, size, size): a low-pass at ``cutoff`` (b,) of Nyquist with a Hann-like window of ``lobes`` pixels."""
    place = torch.arange(size, device=cutoff.device, dtype=torch.float32)
    distance = place[:, None] - place[None]
    window = (0.6 + 0.4 * torch.cos(distance * (math.pi / lobes))) * (distance.abs() <= lobes)
    weights = torch.sinc(distance[None] * cutoff[:, None, None]) * window
    return weights / weights.sum(-1, keepdim=True)


def _kernel(distance: Tensor, kind: Tensor, width: Tensor) -> Tensor:
    """Values (b, i, j) of the kernels ``kind`` (b,) stretched to ``width`` (b,) at ``distance`` in pixels."""
    width, kind = width[:, None, None], kind[:, None, None]
    scaled = distance / width
    far = scaled.abs()
    overlap = torch.minimum(distance + 0.5, width / 2) - torch.maximum(distance - 0.5, -width / 2)
    area = overlap.clamp_min(0)
    triangle = (1 - far).clamp_min(0)
    cubic = torch.where(
        far <= 1, (1.25 * far - 2.25) * far * far + 1, ((-0.75 * far + 3.75) * far - 6) * far + 3
    ) * (far < 2)  # a = -0.75
    lanczos = torch.sinc(scaled) * torch.sinc(scaled / 3) * (far < 3)
    nearest = ((distance >= -0.5) & (distance < 0.5)).float()
    value = torch.where(kind == AREA, area, triangle)
    value = torch.where(kind == CUBIC, cubic, value)
    value = torch.where(kind == LANCZOS, lanczos, value)
    return torch.where(kind == NEAREST, nearest, value)


def resampling_matrices(
    size: int, factor: Tensor, shrink: Tensor, grow: Tensor, antialias: Tensor
) -> tuple[Tensor, Tensor]:
    """Matrices (b, size, size) that shrink by ``factor`` (b,), at least 1, and grow again.

    ``shrink`` and ``grow`` (b,) are kernels. Without ``antialias`` (b,) the shrinking kernel is not stretched, as
    in OpenCV, and aliases. The small image lies in the first places, zeros behind it.
    """
    place = torch.arange(size, device=factor.device, dtype=torch.float32)
    ratio = factor[:, None, None]
    small = place < (size / ratio).floor().clamp_min(1)  # (b, 1, size)
    centre = (place[None, :, None] + 0.5) * ratio - 0.5
    stretched = torch.where(antialias | (shrink == AREA), factor, torch.ones_like(factor))
    down = _kernel(place[None, None] - centre, shrink, stretched)
    down = down / _safe(down.sum(-1, keepdim=True)) * small.mT
    centre = (place[None, :, None] + 0.5) / ratio - 0.5
    centre = torch.minimum(centre, (size / ratio).floor() - 1)
    up = _kernel(place[None, None] - centre, grow, torch.ones_like(factor)) * small
    return down, up / _safe(up.sum(-1, keepdim=True))


def _safe(total: Tensor) -> Tensor:
    return torch.where(total.abs() < 1e-6, torch.ones_like(total), total)


def resampled(images: Tensor, factor: Tensor, shrink: Tensor, grow: Tensor, antialias: Tensor) -> Tensor:
    """(b, 3, h, w) shrunk and grown again; see ``resampling_matrices``."""
    height, width = images.shape[-2:]
    down, up = resampling_matrices(height, factor, shrink, grow, antialias)
    rows = up @ down
    if width == height:
        return separable(images, rows, rows)
    down, up = resampling_matrices(width, factor, shrink, grow, antialias)
    return separable(images, rows, up @ down)


def convolved(images: Tensor, kernels: Tensor) -> Tensor:
    """Images (b, c, h, w) with kernels (b, k, k) of their own, k odd, by the Fourier transform; mirrored borders.

    The time does not depend on k. Kernels are symmetric or are meant turned: nobody minds.
    """
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, (reach, reach, reach, reach), "reflect")
    shape = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels, s=shape)[:, None]
    return torch.fft.irfft2(spectrum, s=shape)[..., 2 * reach :, 2 * reach :]


def offsets(reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """y and x of a kernel of ``reach`` pixels to each side, (k, k) float32."""
    place = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    return place[:, None].expand(-1, place.numel()), place[None].expand(place.numel(), -1)


def box(planes: Tensor, size: int) -> Tensor:
    """Means over ``size`` x ``size`` pixels, size odd; borders repeated."""
    reach = size // 2
    wide = F.avg_pool2d(F.pad(planes, (reach, reach, 0, 0), "replicate"), (1, size), 1)
    return F.avg_pool2d(F.pad(wide, (0, 0, reach, reach), "replicate"), (size, 1), 1)
