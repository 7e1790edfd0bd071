"""Banks of clean images on the device, and crops of them.

All images lie in one uint8 tensor, one after the other. A batch of crops is one gather, whatever the sizes of the
images, and turning and mirroring are arithmetic on its index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.draws import chance, normal, uniform
from training.filters import luma, per_sample, rounded

SHARES: Mapping[str, float] = {"photos": 0.45, "looks": 0.35, "art": 0.12, "scenes": 0.08}
"""How often crops come from each source; shares of sources that are still empty fall to the others."""


class Bank:
    """Clean images on one device, by source. ``looks`` come later; in a full bank they replace the oldest."""

    def __init__(self, device: torch.device, sources: Mapping[str, Sequence[NDArray[np.uint8]]], looks: int = 0,
                 look_size: int = 320) -> None:  # fmt: skip
        self.device, self._size, self._room, self._added = device, look_size, looks, 0
        total = sum(image.size for images in sources.values() for image in images)
        self._pixels = torch.zeros(total + looks * 3 * look_size**2, dtype=torch.uint8, device=device)
        self._places: dict[str, NDArray[np.int64]] = {}  # rows of (first byte, height, width)
        start = 0
        for name, images in sources.items():
            places = []
            for image in images:
                flat = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).flatten()
                self._pixels[start : start + image.size] = flat.to(device)
                places.append((start, *image.shape[:2]))
                start += image.size
            self._places[name] = np.array(places, np.int64).reshape(-1, 3)
        each = 3 * look_size**2
        self._looks = np.array([(total + i * each, look_size, look_size) for i in range(looks)], np.int64)

    def add_looks(self, images: Tensor) -> None:
        """Takes (n, 3, size, size) uint8 in, ``size`` as the bank was told."""
        for image in images if self._room else ():
            start = int(self._looks[self._added % self._room, 0])
            self._pixels[start : start + image.numel()] = image.reshape(-1).to(self.device, non_blocking=True)
            self._added += 1
        self._places["looks"] = self._looks[: min(self._added, self._room)]

    def count(self, source: str) -> int:
        """Images of ``source`` that are there now."""
        return len(self._places.get(source, ()))

    def crops(
        self, count: int, size: int, rng: np.random.Generator, shares: Mapping[str, float] = SHARES
    ) -> Tensor:
        """(count, 3, size, size) float32 in [0, 1]: half at the images' own scale, the rest shrunk by up to 2.

        All are turned and mirrored by chance; their order says nothing. ValueError where there is no image at all.
        """
        side = round(size * rng.uniform(1, max(1.0, min(2.0, 440 / size))))
        own = count // 2 if side > size else count
        parts = [self._windows(own, size, rng, shares)] if own else []
        if count > own:
            shrunk = self._windows(count - own, side, rng, shares)
            parts.append(rounded(F.interpolate(shrunk, size=(size, size), mode="area")))
        mixed = torch.from_numpy(rng.permutation(count)).to(self.device, non_blocking=True)
        return torch.cat(parts)[mixed]

    def _windows(self, count: int, size: int, rng: np.random.Generator, shares: Mapping[str, float]) -> Tensor:
        names = [name for name in shares if self.count(name) and shares[name] > 0]
        if not names:
            raise ValueError("the bank is empty: it needs photographs, art, scenes or looks")
        weights = np.array([shares[name] for name in names])
        picks = rng.choice(len(names), count, p=weights / weights.sum())
        table = np.empty((count, 6), np.int64)
        for number, name in enumerate(names):
            of = picks == number
            places = self._places[name]
            table[of, :3] = places[rng.integers(0, len(places), int(of.sum()))]
        room = np.maximum(table[:, 1:3] - size, 0) + 1
        table[:, 3:5] = (rng.random((count, 2)) * room).astype(np.int64)
        table[:, 5] = rng.integers(0, 8, count)
        start, height, width, top, left, turn = (
            torch.from_numpy(table).to(self.device, non_blocking=True).T[..., None, None].unbind(0)
        )
        step = torch.arange(size, device=self.device)
        y, x = step[:, None], step[None]
        y, x = torch.where(turn & 1 > 0, size - 1 - y, y), torch.where(turn & 2 > 0, size - 1 - x, x)
        y, x = torch.where(turn & 4 > 0, x, y), torch.where(turn & 4 > 0, y, x)
        index = start + _mirrored(top + y, height) * width + _mirrored(left + x, width)
        plane = (height * width)[:, None] * torch.arange(3, device=self.device)[None, :, None, None]
        return self._pixels[index[:, None] + plane].float() / 255


def _mirrored(place: Tensor, size: Tensor) -> Tensor:
    """Places beyond an image that is smaller than the window, mirrored back into it."""
    place = place % (2 * size)
    return torch.where(place >= size, 2 * size - 1 - place, place)


def toned(images: Tensor, generator: torch.Generator, share: float = 0.4) -> Tensor:
    """Another light for a ``share`` of the images: exposure, contrast, saturation, white balance."""
    b = len(images)
    gamma = torch.where(chance(generator, 0.5, b), (normal(generator, b) * 0.25).exp(), 1.0)
    contrast = torch.where(chance(generator, 0.3, b), uniform(generator, 0.6, 1.15, b), 1.0)
    saturation = torch.where(chance(generator, 0.5, b), uniform(generator, 0.4, 1.5, b), 1.0)
    saturation = torch.where(chance(generator, 0.06, b), 0.0, saturation)
    balance = 1 + normal(generator, b, 3, 1, 1) * 0.06 * per_sample(chance(generator, 0.3, b).float())
    values = images.clamp_min(1e-4) ** per_sample(gamma)
    values = (values - 0.5) * per_sample(contrast) + 0.5
    grey = luma(values)
    values = (grey + per_sample(saturation) * (values - grey)) * balance
    return torch.where(per_sample(chance(generator, share, b)), rounded(values), images)
