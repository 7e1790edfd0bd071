"""What the embedded models can do, as figures: on damage that is known, over photographs kept out of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.quality.map import Image, Mapper, Plane
from qrefine.training.degradations import FAMILIES, KINDS, degrade
from qrefine.training.pairs import traced
from qrefine.training.regions import soft_region

RESTORED = ("blur", "noise", "compression", "resampling")
"""Families that the restorer is judged by."""


@dataclass(frozen=True)
class Case:
    """A photograph with one kind of damage; ``region`` is its mask in [0, 1], 0 where it left no trace."""

    clean: Image
    damaged: Image
    region: Plane
    kind: str
    severity: float


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
    """``each`` cases of every photo, kinds in turn, severities even over [low, high]."""
    for number, photo in enumerate(photos):
        for turn in range(each):
            rng = np.random.default_rng((seed, number, turn))
            kind = kinds[(number * each + turn) % len(kinds)]
            yield damage(photo, kind, float(rng.uniform(low, high)), rng, local)


def auc(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """The chance that a true patch scores above a false one, ties by half (Mann and Whitney)."""
    ranks = _ranks(scores.ravel())
    positives, truth = int(truth.sum()), truth.ravel()
    negatives = truth.size - positives
    if not positives or not negatives:
        return float("nan")
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation in [-1, 1]."""
    return float(np.corrcoef(_ranks(np.asarray(a)), _ranks(np.asarray(b)))[0, 1])


def patch_aucs(
    mapper: Mapper, photos: Sequence[Image], low: float, high: float, seed: int, each: int
) -> list[tuple[str, float]]:
    """Kind, and AUC of 1 - Q against {patches damaged over half or more of their area}: cases with both sorts."""
    result = []
    for case in cases(photos, tuple(KINDS), low, high, each, seed):
        values = mapper([case.damaged])[0].values
        n = values.shape[0]
        truth = cv2.resize(case.region, (n, n), interpolation=cv2.INTER_AREA) >= 0.5
        result.append((case.kind, auc(1 - values, truth)))
    return [(kind, value) for kind, value in result if not np.isnan(value)]


def perfect_score(case: Case) -> float:
    """q of a mapper that knows the severity of every pixel; damage that left no trace is none."""
    return 1 - case.severity * float(case.region.mean())


def severity_correlations(score: Callable[[Case], float], photos: Sequence[Image], seed: int) -> dict[str, float]:
    """Spearman of q with 1 - severity by kind: every photo once, damaged all over, all photos in one pool."""
    result = {}
    for kind in KINDS:
        pool = list(cases(photos, (kind,), 0, 1, 1, seed, local=False))
        result[kind] = spearman([score(case) for case in pool], [1 - case.severity for case in pool])
    return result


def psnr(a: Image, b: Image, region: NDArray[np.bool_] | None = None) -> float:
    """dB within ``region`` (all where None); infinite where nothing differs."""
    error = (a.astype(np.float64) - b) ** 2
    mean = error[region].mean() if region is not None else error.mean()
    return float("inf") if mean == 0 else float(10 * np.log10(255**2 / mean))


@dataclass(frozen=True)
class Gain:
    """PSNR in the damaged area before and after, dB."""

    kind: str
    severity: float
    before: float
    after: float


def restoration_gains(
    restore: Callable[[Case], Image], photos: Sequence[Image], low: float, high: float, seed: int, each: int
) -> list[Gain]:
    """``restore`` on local damage of the restorable kinds, measured where the region is half or more."""
    kinds = tuple(kind for family in RESTORED for kind in FAMILIES[family])
    gains = []
    for case in cases(photos, kinds, low, high, each, seed):
        inside = case.region >= 0.5
        if inside.any() and (case.damaged[inside] != case.clean[inside]).any():
            before = psnr(case.damaged, case.clean, inside)
            gains.append(Gain(case.kind, case.severity, before, psnr(restore(case), case.clean, inside)))
    return gains


def by_kind(gains: Sequence[Gain]) -> Mapping[str, float]:
    """Mean gain in dB of every kind that occurs."""
    kinds = sorted({gain.kind for gain in gains}, key=tuple(KINDS).index)
    return {kind: float(np.mean([g.after - g.before for g in gains if g.kind == kind])) for kind in kinds}


def by_family(gains: Sequence[Gain]) -> Mapping[str, float]:
    """Mean gain in dB of every restorable family, its kinds weighing alike."""
    kinds = by_kind(gains)
    return {f: float(np.mean([kinds[kind] for kind in FAMILIES[f] if kind in kinds])) for f in RESTORED}
