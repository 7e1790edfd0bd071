"""Undoing a blur whose kernel is known: the Gaussian maximum a posteriori of the sharp picture.

The data (Kx = y where the picture is blurred, x = y where it is not), the noise and the spectrum of sharp scenes
make a linear system, which conjugate gradients solve with a circular approximation as preconditioner. That is
Wiener's filter where the blur covers everything; and it needs no assumption about what lies outside the picture
or beyond the region. Pixels that the kernel does not explain (sharp ones, another blur, lettering on top) are
found by what is left of them, count little when the system is solved again, and stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from qrefine.models.restorers.blurs import Blur, measured
from qrefine.models.tiling import Floats, in_tiles
from qrefine.quality.map import Image, Plane
from qrefine.quality.pixels import Flags

TILE, OVERLAP = 768, 96
"""Pixels along a side of what is solved at once, and those that neighbours share."""

STEPS = 4
"""Of conjugate gradients, for each of the ``PASSES``."""

PASSES = 3
"""Solutions; each but the first without what the one before could not explain."""

RIDGE = 1e-3
"""The kernel is only nearly right: where it passes less than this share of the power, pixels stay."""

INSIDE = 0.5
"""Least weight of pixels that are taken for blurred altogether."""

SHARP, BETWEEN = 16.0, 100.0
"""Variances in levels ** 2 by which x may differ from y outside the region, and at its soft edge."""

OUTLIER = 20.0
"""Times the median of the squared remainder, from which on a place is not explained."""

AROUND = 9
"""Pixels along a side over which the remainder is averaged."""

_MARGIN = 24  # beyond the tile, for what was blurred into it


def without_blur(image: Image, weight: Plane, device: torch.device) -> Image:
    """``image`` (h, w, 3) sharpened where ``weight`` (h, w) in [0, 1] is positive; the same object where no blur
    is found."""
    blur = measured(image, weight)
    if blur is None or not blur.holds:
        return image
    return deconvolved(image, weight, blur, device)


def deconvolved(image: Image, weight: Plane, blur: Blur, device: torch.device) -> Image:
    """``image`` with ``blur`` undone, in tiles."""

    def part(rows: slice, columns: slice) -> Floats:
        pixels, here = image[rows, columns], weight[rows, columns]
        result = pixels.astype(np.float32)
        if here.any():
            inner = tuple(_extent(np.asarray(here.any(axis)), _MARGIN) for axis in (1, 0))
            result[inner] = _solved(pixels[inner], here[inner], blur, device)
        return result

    sharp = in_tiles(part, (*weight.shape, 3), TILE, OVERLAP, 1)
    return np.rint(sharp, out=sharp).clip(0, 255, out=sharp).astype(np.uint8)


def _extent(flags: Flags, margin: int) -> slice:
    """From the first to the last that is set, and ``margin`` more on both sides."""
    found = np.flatnonzero(flags)
    return slice(max(0, int(found[0]) - margin), int(found[-1]) + 1 + margin)


@dataclass(frozen=True)
class _System:
    """What the sharp picture x obeys, as a linear system: (K' B K + S + P) x = K' B y + (S + R) y.

    ``kernel`` K: transfer function. ``blurred`` B and ``same`` S (h, w): one over the variances of Kx - y and of
    x - y. ``ridge`` R: the part of S that is everywhere. ``scene`` P: one over the scene's power, and R.
    """

    kernel: Tensor
    scene: Tensor
    ridge: float
    blurred: Tensor
    same: Tensor

    def seen(self, x: Tensor) -> Tensor:
        """Kx."""
        return self._image(torch.fft.rfft2(x) * self.kernel)

    def left(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        data = torch.fft.rfft2(self.blurred * self._image(spectrum * self.kernel)) * self.kernel.conj()
        return self._image(data + self.scene * spectrum) + self.same * x

    def right(self, y: Tensor) -> Tensor:
        data = torch.fft.rfft2(self.blurred * y) * self.kernel.conj()
        return self._image(data) + (self.same + self.ridge) * y

    def eased(self, remainder: Tensor) -> Tensor:
        """About the solution for ``remainder``: the exact one if B and S were the same everywhere."""
        near = self.kernel.abs().square() * _average(self.blurred) + _average(self.same) + self.scene
        return self._image(torch.fft.rfft2(remainder) / near)

    def _image(self, spectrum: Tensor) -> Tensor:
        height, width = self.blurred.shape
        return torch.fft.irfft2(spectrum, s=(height, width))


@torch.inference_mode()
def _solved(image: Image, weight: Plane, blur: Blur, device: torch.device) -> Floats:
    """Sharp levels (h, w, 3) of one tile; ``image`` where ``weight`` is 0."""
    height, width = weight.shape
    tall, wide = (cv2.getOptimalDFTSize(side + 2 * _MARGIN) for side in (height, width))
    wide += wide % 2
    top, left = (tall - height) // 2, (wide - width) // 2
    inner = (..., slice(top, top + height), slice(left, left + width))
    padded = cv2.copyMakeBorder(image, top, tall - height - top, left, wide - width - left, cv2.BORDER_REFLECT_101)
    y = torch.from_numpy(padded).to(device).permute(2, 0, 1).float()
    mean = y[inner].mean((1, 2), keepdim=True, dtype=torch.float64).float()
    y = y - mean
    asked = torch.from_numpy(np.ascontiguousarray(weight)).to(device)
    blurred, same = torch.zeros(tall, wide, device=device), torch.zeros(tall, wide, device=device)
    blurred[inner] = (asked > INSIDE).float() / blur.noise
    same[inner] = torch.where(asked < 0.02, 1 / SHARP, (asked <= INSIDE).float() / BETWEEN)
    kernel = torch.from_numpy(blur.kernel.transfer(tall, wide).astype(np.complex64)).to(device)
    ridge = RIDGE / blur.noise
    scene = torch.from_numpy(1 / blur.scene(tall, wide)).to(device) + ridge
    system, trusted = _System(kernel, scene, ridge, blurred, same), torch.ones_like(blurred)
    x = _conjugate_gradients(system, y, y)
    for _ in range(PASSES - 1):
        remainder = _mean((system.seen(x) - y).square().mean(0))
        usual = max(blur.noise, float(remainder[blurred > 0].median()))
        trusted = 1 / (1 + (remainder / (OUTLIER * usual)).square())
        kept = same + (blurred > 0) * (1 - trusted) / BETWEEN
        system = replace(system, blurred=blurred * trusted, same=kept)
        x = _conjugate_gradients(system, y, x)
    share = asked.clamp(0, 1) * trusted[inner]
    return (y[inner] + share * (x[inner] - y[inner]) + mean).permute(1, 2, 0).cpu().numpy()


def _conjugate_gradients(system: _System, y: Tensor, x: Tensor) -> Tensor:
    """``STEPS`` from ``x`` towards the solution, each channel of (3, h, w) for itself."""

    def product(a: Tensor, b: Tensor) -> Tensor:
        # in float64, since the order of float32's sums, and so the last bit, would depend on the number of threads
        return (a * b).sum((1, 2), keepdim=True, dtype=torch.float64).float()

    remainder = system.right(y) - system.left(x)
    eased = system.eased(remainder)
    direction, length = eased, product(remainder, eased)
    for _ in range(STEPS):
        image = system.left(direction)
        step = length / product(direction, image).clamp_min(1e-12)
        x, remainder = x + step * direction, remainder - step * image
        eased = system.eased(remainder)
        before, length = length, product(remainder, eased)
        direction = eased + length / before.clamp_min(1e-12) * direction
    return x


def _average(plane: Tensor) -> Tensor:
    return plane.mean(dtype=torch.float64).float()


def _mean(plane: Tensor) -> Tensor:
    """(h, w) averaged over ``AROUND`` x ``AROUND`` pixels."""
    return F.avg_pool2d(plane[None, None], AROUND, 1, AROUND // 2)[0, 0]
