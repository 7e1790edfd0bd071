"""JPEG and WebP as functions on the device: the transforms, tables and rounding that make their marks."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *([99] * 32),
)  # fmt: skip
"""Tables K.1 and K.2 of ITU-T T.81."""

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@lru_cache(maxsize=8)
def _dct(size: int, device: torch.device) -> Tensor:
    """The orthonormal DCT-II, (size, size)."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos((2 * k[None] + 1) * k[:, None] * (math.pi / (2 * size))) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.float().to(device)


@lru_cache(maxsize=8)
def _tables(device: torch.device) -> Tensor:
    """(2, 8, 8): luminance, chrominance."""
    return torch.tensor([_LUMINANCE, _CHROMINANCE], dtype=torch.float32).view(2, 8, 8).to(device)


@lru_cache(maxsize=8)
def _ycc(device: torch.device) -> Tensor:
    return torch.tensor(_TO_YCC, dtype=torch.float32).to(device)


def quantisers(quality: Tensor) -> Tensor:
    """Tables (b, 2, 8, 8) of libjpeg for qualities (b,) in 1..100."""
    quality = quality.round().clamp(1, 100)
    scale = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    return ((_tables(quality.device)[None] * scale[:, None, None, None] + 50) / 100).floor().clamp(1, 255)


def _coded(plane: Tensor, table: Tensor) -> Tensor:
    """Levels (b, c, h, w), sides multiples of 8, through the DCT and ``table`` (b, 8, 8) and back."""
    b, c, h, w = plane.shape
    dct = _dct(8, plane.device)
    blocks = (plane - 128).view(b, c, h // 8, 8, w // 8, 8).transpose(3, 4)
    table = table[:, None, None, None]
    coefficients = (dct @ blocks @ dct.T) / table
    coefficients = (coefficients.abs() + 0.5).floor() * coefficients.sign() * table  # halves go away from 0
    return (dct.T @ coefficients @ dct).transpose(3, 4).reshape(b, c, h, w).add(128).round().clamp(0, 255)


def jpeg(images: Tensor, quality: Tensor, subsampled: bool) -> Tensor:
    """Images (b, 3, h, w) in [0, 1] as libjpeg gives them back at qualities (b,); chroma halved or not."""
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % 16, 0, -height % 16), "replicate") * 255
    matrix = _ycc(images.device)
    planes = torch.einsum("ij,bjhw->bihw", matrix, padded).round()
    y, chroma = planes[:, :1], planes[:, 1:] + 128
    tables = quantisers(quality)
    y = _coded(y, tables[:, 0])
    if subsampled:
        half = _coded(_halved(chroma), tables[:, 1])
        chroma = F.interpolate(half, scale_factor=2.0, mode="bilinear")  # libjpeg's "fancy" triangle
    else:
        chroma = _coded(chroma, tables[:, 1])
    return _rgb(y, chroma - 128)[..., :height, :width]


def _halved(chroma: Tensor) -> Tensor:
    """Means of 2 x 2 levels, rounded as libjpeg does: halves go down and up in turn."""
    bias = 0.25 + 0.25 * (torch.arange(chroma.shape[-1] // 2, device=chroma.device) % 2)
    return (F.avg_pool2d(chroma, 2) + bias).floor()


def _rgb(y: Tensor, chroma: Tensor) -> Tensor:
    blue, red = chroma.split(1, 1)
    rgb = torch.cat([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], 1)
    return rgb.round().clamp(0, 255) / 255


def vp8_steps(quality: Tensor) -> tuple[Tensor, Tensor]:
    """Steps of AC and of DC (b,) in grey levels of an orthonormal 4 x 4 transform, for qualities (b,) in 0..100.

    libwebp maps quality to an index in 0..127 by a cube root; the specification's tables (RFC 6386, section 14.1)
    are followed by two straight lines each.
    """
    share = quality / 100
    linear = torch.where(share < 0.75, share * (2 / 3), 2 * share - 1)
    index = 127 * (1 - linear.clamp_min(0) ** (1 / 3))
    ac = torch.where(index < 58, 4 + index, 62 + (index - 58) * 3.2)
    dc = torch.where(index < 90, 4 + 0.75 * index, 71 + (index - 90) * 2.3)
    return ac * 0.5, dc * 0.5


def webp(images: Tensor, quality: Tensor) -> Tensor:
    """Images (b, 3, h, w) in [0, 1] about as WebP gives them back at qualities (b,) in 0..100.

    Not the codec, but its marks: halved chroma, 4 x 4 transforms of what a smooth prediction leaves, a dead zone,
    and a filter over the blocks' edges. The true one runs on CPUs (``Pillow``) and is within its spread.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (0, -width % 16, 0, -height % 16), "replicate") * 255
    planes = torch.einsum("ij,bjhw->bihw", _ycc(images.device), padded).round()
    ac, dc = vp8_steps(quality)
    y = _deblocked(_predicted(planes[:, :1], ac, dc), ac)
    chroma = _deblocked(_predicted(F.avg_pool2d(planes[:, 1:], 2).round(), ac, dc), ac)
    chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear")
    return _rgb(y, chroma)[..., :height, :width]


def _predicted(plane: Tensor, ac: Tensor, dc: Tensor) -> Tensor:
    """Levels (b, c, h, w) whose 4 x 4 means are coded by ``dc``, and what these do not foretell by ``ac``."""
    b, c, h, w = plane.shape
    step = (dc / 4)[:, None, None, None]
    means = (F.avg_pool2d(plane, 4) / step).round() * step
    smooth = F.interpolate(means, scale_factor=4.0, mode="bilinear")
    dct = _dct(4, plane.device)
    blocks = (plane - smooth).view(b, c, h // 4, 4, w // 4, 4).transpose(3, 4)
    values = dct @ blocks @ dct.T
    step = ac[:, None, None, None, None, None]
    kept = (values.abs() / step + 0.36).floor() * values.sign() * step
    back = (dct.T @ kept @ dct).transpose(3, 4).reshape(b, c, h, w)
    return (smooth + back).round()


def _deblocked(plane: Tensor, ac: Tensor) -> Tensor:
    """VP8's simple loop filter over the edges of 4 x 4 blocks, along both axes."""
    limit = (ac * 1.2 + 2)[:, None, None, None]
    for _ in range(2):
        p1, p0, q0, q1 = (plane[..., i : plane.shape[-1] - 4 + i : 4] for i in (2, 3, 4, 5))
        step = (3 * (q0 - p0) + (p1 - q1)) / 8
        step = step * ((q0 - p0).abs() * 2 + (p1 - q1).abs() / 2 <= limit)
        plane = plane.clone()
        plane[..., 3 : plane.shape[-1] - 1 : 4] += step
        plane[..., 4::4] -= step
        plane = plane.mT
    return plane
