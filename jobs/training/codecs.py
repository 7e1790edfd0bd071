"""JPEG as a function on the device, by its transform, tables and rounding; WebP by its own codec."""

from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
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


def webp(images: Tensor, quality: Tensor) -> Tensor:
    """Images (b, 3, h, w) in [0, 1] as WebP gives them back at qualities (b,) in 0..100.

    The codec itself, in threads on the CPU: what its prediction and its loop filter leave is like no simpler
    transform's marks, and a network that learned those did not know WebP.
    """
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    with ThreadPoolExecutor(_THREADS) as threads:
        coded = list(threads.map(_through_webp, pixels, quality.tolist()))
    return torch.from_numpy(np.stack(coded)).to(images.device).permute(0, 3, 1, 2).float() / 255


_THREADS = 8


def _through_webp(pixels: NDArray[np.uint8], quality: float) -> NDArray[np.uint8]:
    coded = io.BytesIO()
    Image.fromarray(pixels).save(coded, "WEBP", quality=round(quality))
    return np.asarray(Image.open(coded).convert("RGB"))
