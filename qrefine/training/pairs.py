"""Pairs of a clean image and its damaged copy with the true severity of every pixel.

A pair is a pure function of (photos, recipe, seed): the same on any worker, in any order, on resume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from qrefine.quality.map import Image, Plane
from qrefine.training import benign
from qrefine.training.degradations import FAMILIES, KINDS, degrade
from qrefine.training.regions import soft_region
from qrefine.training.scenes import scene


@dataclass(frozen=True)
class Pair:
    """``clean`` and ``damaged``: (size, size, 3) uint8; ``severity``: (size, size) in [0, 1].

    Severity is 0 where nothing was done, and where it left no trace: a blurred white wall is a white wall.
    ``kinds`` holds the planes of the kinds of damage that are in it.
    """

    clean: Image
    damaged: Image
    severity: Plane
    kinds: Mapping[str, Plane]


@dataclass(frozen=True)
class Recipe:
    """What pairs are drawn from; shares are probabilities. ``weights``: of families of damage, or of kinds."""

    size: int = 128
    scenes: float = 0.2
    clean: float = 0.2
    whole: float = 0.35
    second: float = 0.2
    shrink: float = 0.35
    mild: float = 0.4
    weights: tuple[tuple[str, float], ...] = (
        ("blur", 4), ("noise", 4), ("compression", 4), ("resampling", 3), ("surface", 3), ("content", 2.5),
        ("mixture", 3),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if unknown := {name for name, _ in self.weights} - set(FAMILIES) - set(KINDS):
            raise ValueError(f"no family or kind of damage is called {', '.join(sorted(unknown))}")


MARGIN = 16
"""Damage is done to a crop this much larger, so that codec grids and borders fall anywhere in the final one."""


def _clean_crop(photos: Sequence[Image], recipe: Recipe, rng: np.random.Generator) -> Image:
    size = recipe.size + MARGIN
    if not photos or rng.random() < recipe.scenes:
        return scene(size, rng)
    photo = photos[int(rng.integers(len(photos)))]
    height, width, _ = photo.shape
    # Shrinking an already sharp photo keeps it sharp: another scale of the same world.
    largest = min(2.0, min(height, width) / size)
    scale = rng.uniform(1, largest) if largest > 1 and rng.random() < recipe.shrink else 1.0
    reach = min(int(size * scale), height, width)
    top, left = int(rng.integers(0, height - reach + 1)), int(rng.integers(0, width - reach + 1))
    crop = photo[top : top + reach, left : left + reach]
    if reach != size:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if reach > size else cv2.INTER_CUBIC)
    crop = np.rot90(crop, int(rng.integers(4))) if rng.random() < 0.5 else crop
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    return np.ascontiguousarray(crop)


def _kind(recipe: Recipe, rng: np.random.Generator) -> str:
    weights = np.array([weight for _, weight in recipe.weights])
    name = recipe.weights[rng.choice(len(weights), p=weights / weights.sum())][0]
    kinds = FAMILIES.get(name, (name,))
    return kinds[rng.integers(len(kinds))]


def _severity(recipe: Recipe, rng: np.random.Generator) -> float:
    """From the whole range, or, for a share of ``mild``, from its lower part alone."""
    return float(rng.uniform(0.02, 0.4 if rng.random() < recipe.mild else 1))


def traced(severity: Plane, clean: Image, damaged: Image) -> Plane:
    """``severity`` where pixels nearby moved by a grey level or more, fading to 0 where none did.

    A grey level is the least that a viewer could see in two images held side by side.
    """
    change = np.abs(damaged.astype(np.float32) - clean).max(2)
    return severity * np.minimum(cv2.blur(change, (17, 17)), 1)


def make_pair(photos: Sequence[Image], recipe: Recipe, seed: Sequence[int]) -> Pair:
    """The pair that ``seed`` stands for. Photos are RGB uint8 of any size; without any, scenes alone are used."""
    rng = np.random.default_rng(list(seed))
    clean = _clean_crop(photos, recipe, rng)
    if rng.random() < 0.4:
        clean = benign.tone(clean, rng)
    size = clean.shape[0]
    damaged, severity = clean, np.zeros((size, size), np.float32)
    kinds: dict[str, Plane] = {}
    if rng.random() < recipe.clean:
        if rng.random() < 0.5:
            clean = damaged = benign.finish(clean, rng)
    else:
        whole = rng.random() < recipe.whole
        for _ in range(2 if not whole and rng.random() < recipe.second else 1):
            kind, level = _kind(recipe, rng), _severity(recipe, rng)
            mask = np.ones((size, size), np.float32) if whole else soft_region(size, size, rng)
            changed = degrade(damaged, kind, level, rng).astype(np.float32)
            damaged = np.rint(damaged + mask[..., None] * (changed - damaged)).astype(np.uint8)
            severity = 1 - (1 - severity) * (1 - level * mask)
            kinds[kind] = np.maximum(kinds.get(kind, 0), level * mask)
    top, left = (int(v) for v in rng.integers(0, MARGIN + 1, 2))
    window = np.s_[top : top + recipe.size, left : left + recipe.size]
    trace = traced(np.ones_like(severity), clean, damaged)
    return Pair(
        np.ascontiguousarray(clean[window]),
        np.ascontiguousarray(damaged[window]),
        (severity * trace)[window],
        {kind: (plane * trace)[window] for kind, plane in kinds.items()},
    )
