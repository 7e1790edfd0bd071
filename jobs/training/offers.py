"""Offers to acceptance whose truth is known: images before and after some restorer, honest or lying, by family.

Photographs with two damaged regions that liars, honest restorers and the truth itself are let loose on; undamaged
looks that restorers "repair"; tiny damage that is repaired perfectly. Damage is OpenCV's, not that of training.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import lies, repairs
from training.degradations_cv2 import degrade
from training.lies.base import Case, Draw

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Restore = Callable[[Image, Plane], Image]

STYLE_RESTORERS = (
    "median_filter", "gaussian_filter", "guided_filter", "non_local_filter", "denoised_sharpened",
)  # fmt: skip
"""Filters that are let loose on looks; beside them stands the restorer of the product."""

LOSES = 0.05
"""dB that a result may lie farther from the truth than what came: below that it is no harm."""

UNHARMED = 45.0
"""dB to an undamaged original from which a change is called harmless."""

UNHARMED_BLOCK = 35.0
"""The same for the worst block of BLOCK x BLOCK pixels: what is erased in one place is little of the whole."""

BLOCK = 32


@dataclass(frozen=True, eq=False)
class Offer:
    """``family`` and ``kind``: who made ``after``; ``undamaged``: before is the truth already."""

    family: str
    kind: str
    truth: Image
    before: Image
    after: Image

    @property
    def undamaged(self) -> bool:
        return np.array_equal(self.truth, self.before)


def psnr(a: Image, b: Image) -> float:
    """dB over the whole image; 99 where nothing differs."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return 99.0 if error == 0 else min(99.0, 10 * float(np.log10(255**2 / error)))


def worst_block(a: Image, b: Image) -> float:
    """dB in the block of BLOCK x BLOCK pixels that differs most; blocks overlap by half."""
    error = ((a.astype(np.float32) - b) ** 2).mean(-1)
    worst = float(cv2.blur(error, (BLOCK, BLOCK))[:: BLOCK // 2, :: BLOCK // 2].max())
    return 99.0 if worst == 0 else min(99.0, 10 * float(np.log10(255**2 / worst)))


def gain(offer: Offer, result: Image) -> float:
    """dB by which ``result`` is nearer the truth than what came."""
    return psnr(result, offer.truth) - psnr(offer.before, offer.truth)


def harmful(offer: Offer, result: Image) -> bool:
    """Whether a result that would be written is harm: farther from the truth, or a visibly changed original."""
    if offer.undamaged:
        return psnr(result, offer.truth) < UNHARMED or worst_block(result, offer.truth) < UNHARMED_BLOCK
    return gain(offer, result) < -LOSES


def seeded(*of: object) -> int:
    return zlib.crc32(repr(of).encode())


def tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def image_of(tensor: Tensor) -> Image:
    return (tensor[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def spots(size: tuple[int, int], area: float, count: int, rng: np.random.Generator) -> Plane:
    """Soft ellipses, about ``area`` of the image together, (h, w) in [0, 1]."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    plane = np.zeros(size, np.float32)
    for _ in range(count):
        radius = np.sqrt(area * height * width / count / np.pi)
        squeeze = np.exp(rng.uniform(-0.4, 0.4))
        ry, rx = radius * squeeze, radius / squeeze
        cy, cx = (rng.uniform(min(r, s / 2), max(s - r, s / 2)) for r, s in ((ry, height), (rx, width)))
        plane = np.maximum(plane, ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)
    return cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 2)


def damaged(photo: Image, kind: str, severity: float, region: Plane, rng: np.random.Generator) -> Image:
    made = degrade(photo, kind, severity, rng).astype(np.float32)
    return np.rint(photo + region[..., None] * (made - photo)).astype(np.uint8)


def lying(
    photos: Sequence[Image], names: Sequence[str], kinds: Sequence[str], each: int, family: str
) -> Iterator[Offer]:
    """Liars on photographs with two damaged regions: ``each`` photographs for every liar."""
    for name in names:
        for turn in range(each):
            seed = seeded("lie", name, turn)
            rng, draw = np.random.default_rng(seed), Draw(random.Random(seed), torch.Generator().manual_seed(seed))
            photo, other = (photos[int(i)] for i in rng.choice(len(photos), 2, replace=False))
            region = spots(photo.shape[:2], rng.uniform(0.06, 0.25), 2, rng)
            before = damaged(photo, str(rng.choice(kinds)), rng.uniform(0.3, 1), region, rng)
            wide = cv2.GaussianBlur(cv2.dilate(region, np.ones((15, 15), np.uint8)), (0, 0), 3)
            other = cv2.resize(other, photo.shape[1::-1], interpolation=cv2.INTER_AREA)
            case = Case(tensor(photo), tensor(before), tensor(other), torch.from_numpy(wide)[None, None])
            yield Offer(family, name, photo, before, image_of(lies.tell(name, case, draw)))


def styled(looks: dict[str, dict[str, Image]], restore: Restore, family: str) -> Iterator[Offer]:
    """Undamaged looks that are put through filters and the product's restorer, all over or in regions."""
    for look, pictures in looks.items():
        for number, picture in enumerate(pictures.values()):
            seed = seeded("style", look, number)
            rng, draw = np.random.default_rng(seed), Draw(random.Random(seed), torch.Generator().manual_seed(seed))
            for name in (str(rng.choice(STYLE_RESTORERS)), "restorer"):
                whole = rng.random() < 0.4
                mask = np.ones(picture.shape[:2], np.float32) if whole else spots(picture.shape[:2], 0.3, 2, rng)
                if name == "restorer":
                    after = restore(picture, mask)
                else:
                    x = tensor(picture)
                    case = Case(x, x, x, torch.from_numpy(mask)[None, None])
                    after = image_of(repairs.repair(name, case, draw))
                yield Offer(family, f"{look} by {name}", picture, picture, after)


def repaired(
    photos: Sequence[Image], kinds: Sequence[str], each: int, restore: Restore, family: str
) -> Iterator[Offer]:
    """Honest repairs of every kind of damage, severities even over [.1, 1]."""
    for name in kinds:
        for turn in range(each):
            rng = np.random.default_rng(seeded("repair", name, turn))
            photo = photos[int(rng.integers(len(photos)))]
            region = spots(photo.shape[:2], rng.uniform(0.06, 0.3), 2, rng)
            before = damaged(photo, name, 0.1 + 0.9 * (turn + rng.random()) / each, region, rng)
            yield Offer(family, name, photo, before, restore(before, region))


def perfect(
    photos: Sequence[Image], kinds: Sequence[str], each: int, low: float, high: float, family: str
) -> Iterator[Offer]:
    """The clean original as the repair; damage on ``low`` to ``high`` of the area, severity .3 to 1."""
    for name in kinds:
        for turn in range(each):
            rng = np.random.default_rng(seeded("perfect", family, name, turn))
            photo = photos[int(rng.integers(len(photos)))]
            area = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            region = spots(photo.shape[:2], area, 1 if area < 0.05 else 2, rng)
            before = damaged(photo, name, 0.3 + 0.7 * (turn + rng.random()) / each, region, rng)
            yield Offer(family, name, photo, before, photo)
