"""What networks can do, as figures: on damage that is known, over pictures that no training saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.degradations_cv2 import FAMILIES, FAMILY, KINDS, degrade

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]

RESTORED = tuple(k for family in ("blur", "noise", "compression", "resampling") for k in FAMILIES[family])
"""Kinds that a restorer is judged by."""


@dataclass(frozen=True)
class Case:
    """A photograph with one kind of damage; ``region`` is its mask in [0, 1], 0 where it left no trace."""

    clean: Image
    damaged: Image
    region: Plane
    kind: str
    severity: float


def soft_region(height: int, width: int, rng: np.random.Generator) -> Plane:
    """An ellipse, a rectangle, a side or a blob, (height, width) in [0, 1], its edge faded by chance."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    kind, angle = int(rng.integers(4)), rng.uniform(0, 2 * math.pi)
    u = (x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle)
    v = (y / height - 0.5) * math.cos(angle) - (x / width - 0.5) * math.sin(angle)
    if kind == 0:
        cu, cv = rng.uniform(-0.3, 0.3, 2)
        ru, rv = rng.uniform(0.2, 0.45, 2)
        mask = ((u - cu) / ru) ** 2 + ((v - cv) / rv) ** 2 < 1
    elif kind == 1:
        top, left, h, w = *rng.uniform(0, 0.5, 2), *rng.uniform(0.3, 0.7, 2)
        mask = (y > top * height) & (y < (top + h) * height) & (x > left * width) & (x < (left + w) * width)
    elif kind == 2:
        mask = u > rng.uniform(-0.2, 0.2)
    else:
        smooth = cv2.resize(
            rng.standard_normal((6, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        mask = smooth > np.quantile(smooth, rng.uniform(0.4, 0.8))
    fade = rng.uniform(0, 0.035) * min(height, width)
    plane = mask.astype(np.float32)
    return cv2.GaussianBlur(plane, (0, 0), fade) if fade > 0.3 else plane


def traced(severity: Plane, clean: Image, damaged: Image) -> Plane:
    """``severity`` where pixels nearby moved by a grey level or more, fading to 0 where none did."""
    change = np.abs(damaged.astype(np.float32) - clean).max(2)
    return severity * np.minimum(cv2.blur(change, (17, 17)), 1)


def damage(photo: Image, kind: str, severity: float, rng: np.random.Generator, local: bool) -> Case:
    """``photo`` with ``kind``, in a soft region or (not ``local``) all over."""
    height, width, _ = photo.shape
    region = soft_region(height, width, rng) if local else np.ones((height, width), np.float32)
    changed = degrade(photo, kind, severity, rng).astype(np.float32)
    damaged = np.rint(photo + region[..., None] * (changed - photo)).astype(np.uint8)
    return Case(photo, damaged, traced(region, photo, damaged), kind, severity)


def cases(
    photos: Sequence[Image],
    kinds: Sequence[str],
    low: float,
    high: float,
    each: int,
    seed: int,
    local: bool = True,
) -> Iterator[Case]:
    """``each`` cases of every kind, photographs in turn, severities even over [low, high]."""
    for order, kind in enumerate(kinds):
        for turn in range(each):
            rng = np.random.default_rng((seed, order, turn))
            severity = low + (high - low) * (turn + rng.random()) / each
            yield damage(photos[(order * 7 + turn) % len(photos)], kind, severity, rng, local)


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def auc(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The chance that a true patch scores above a false one, ties by half (Mann and Whitney); NaN without both."""
    ranks, truth = _ranks(scores.ravel()), truth.ravel()
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation in [-1, 1]."""
    return float(np.corrcoef(_ranks(np.asarray(a)), _ranks(np.asarray(b)))[0, 1])


def psnr(a: Image, b: Image, region: NDArray[np.bool_] | None = None) -> float:
    """dB within ``region`` (all where None); infinite where nothing differs."""
    error = (a.astype(np.float64) - b) ** 2
    mean = error[region].mean() if region is not None else error.mean()
    return float("inf") if mean == 0 else float(10 * np.log10(255**2 / mean))


def on_grid(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Mean of ``plane`` over the patches of a map of ``shape`` (rows, columns)."""
    return cv2.resize(plane, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def patch_aucs(maps: Sequence[Plane], of: Sequence[Case]) -> list[tuple[str, float]]:
    """Kind, and AUC of 1 - Q against {patches damaged over half or more of their area}: cases with both sorts."""
    found = [(c.kind, auc(1 - q, on_grid(c.region, q.shape) >= 0.5)) for q, c in zip(maps, of, strict=True)]
    return [(kind, value) for kind, value in found if not math.isnan(value)]


def mean_by_kind(pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Mean of the values of every kind that occurs, in the registry's order."""
    names = {kind for kind, _ in pairs}
    return {kind: float(np.mean([v for k, v in pairs if k == kind])) for kind in KINDS if kind in names}


def rank_correlations(maps: Sequence[Plane], of: Sequence[Case]) -> dict[str, float]:
    """Spearman of q with 1 - severity by kind."""
    result = {}
    for kind in dict.fromkeys(case.kind for case in of):
        pairs = [(float(q.mean()), 1 - c.severity) for q, c in zip(maps, of, strict=True) if c.kind == kind]
        result[kind] = spearman([a for a, _ in pairs], [b for _, b in pairs])
    return result


@dataclass(frozen=True)
class Bin:
    """Patches whose Q lies in [low, high): how many, their mean Q, and what 1 - severity truly was."""

    low: float
    high: float
    patches: int
    predicted: float
    true: float
    decile: float
    median: float
    top: float


def calibration(maps: Sequence[Plane], of: Sequence[Case], edges: Sequence[float]) -> list[Bin]:
    """Predicted against true quality by patches; bins without patches are left out."""
    predicted = np.concatenate([q.ravel() for q in maps])
    true = np.concatenate(
        [1 - c.severity * on_grid(c.region, q.shape).ravel() for q, c in zip(maps, of, strict=True)]
    )
    bins = []
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (predicted >= low) & ((predicted < high) | (high >= 1))
        if inside.any():
            tenth, half, ninth = np.quantile(true[inside], [0.1, 0.5, 0.9])
            bins.append(
                Bin(
                    low, high, int(inside.sum()), float(predicted[inside].mean()), float(true[inside].mean()),
                    float(tenth), float(half), float(ninth),
                )
            )  # fmt: skip
    return bins


@dataclass(frozen=True)
class Gain:
    """A restored case: PSNR in the damaged area before and after, dB; the perceptual distances where known."""

    case: Case
    restored: Image
    before: float
    after: float


def gains(restore: Callable[[Case], Image], of: Sequence[Case]) -> list[Gain]:
    """``restore`` measured where the region is half or more; cases that left no trace there are left out."""
    result = []
    for case in of:
        inside = case.region >= 0.5
        if inside.any() and (case.damaged[inside] != case.clean[inside]).any():
            restored = restore(case)
            before, after = psnr(case.damaged, case.clean, inside), psnr(restored, case.clean, inside)
            result.append(Gain(case, restored, before, min(after, 100.0)))
    return result


def gain_by_kind(found: Sequence[Gain]) -> dict[str, float]:
    """Mean dB of every kind that occurs."""
    return mean_by_kind([(g.case.kind, g.after - g.before) for g in found])


def gain_by_family(found: Sequence[Gain]) -> dict[str, float]:
    """Mean dB of every family that occurs, its kinds weighing alike."""
    kinds = gain_by_kind(found)
    names = dict.fromkeys(FAMILY[kind] for kind in kinds)
    return {name: float(np.mean([kinds[k] for k in FAMILIES[name] if k in kinds])) for name in names}


def perceptual_by_kind(found: Sequence[Gain], distance: Callable[[Image, Image], float]) -> dict[str, float]:
    """Distance of refined to clean over that of damaged to clean, summed over each kind's cases."""
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for gain in found:
        kind = gain.case.kind
        before[kind] = before.get(kind, 0) + distance(gain.case.damaged, gain.case.clean)
        after[kind] = after.get(kind, 0) + distance(gain.restored, gain.case.clean)
    return {kind: after[kind] / before[kind] for kind in KINDS if before.get(kind)}


@dataclass(frozen=True)
class Changes:
    """What a refiner did to pictures that needed nothing: how many, and the PSNR of those that it changed."""

    pictures: int
    levels: tuple[float, ...]

    @classmethod
    def of(cls, before: Sequence[Image], after: Sequence[Image | None]) -> Changes:
        """``after`` is None where a picture was kept; one that came back the same was not changed."""
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if b is not None and not np.array_equal(a, b)]
        return cls(len(before), tuple(psnr(a, b) for a, b in pairs))
