"""A generative restorer before acceptance, such as Real-ESRGAN: what it draws is judged by the perceptual label.

On photographs with a region of lost resolution or of compression it is honest: it draws detail that *before*
lacks, which may be nearer the truth to the eye and farther in decibels. On undamaged pictures the same network
does harm. The label is that of training (`training.labels`): a perceptual distance and structure together,
with the low frequencies as the floor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from training import offers
from training.labels import label
from training.offers import Image, Offer, Plane, Restore, damaged, seeded, spots, tensor
from training.perceptual import Features

DAMAGE = ("downsample", "jpeg", "double_jpeg")
"""Kinds that it was made for."""

CONTEXT = 24
"""Pixels around a region that it sees."""


def on_region(restore: Restore, image: Image, region: Plane) -> Image:
    """``restore`` on the box around ``region`` alone: it is slow, and the rest has no strength."""
    rows, columns = (np.flatnonzero(region.max(axis)) for axis in (1, 0))
    box = tuple(slice(max(0, int(at[0]) - CONTEXT), int(at[-1]) + 1 + CONTEXT) for at in (rows, columns))
    result = image.copy()
    result[box] = restore(np.ascontiguousarray(image[box]), np.ascontiguousarray(region[box]))
    return result


def generated(photos: Sequence[Image], looks: Sequence[Image], each: int, restore: Restore) -> Iterator[Offer]:
    """``each`` photographs for every kind of damage, at severities even over [.2, 1]; as many without damage."""
    for kind in (*DAMAGE, "undamaged photograph", "undamaged look"):
        source = looks if kind == "undamaged look" else photos
        for turn in range(each):
            rng = np.random.default_rng(seeded("generative", kind, turn))
            truth = source[turn * len(source) // each]
            region = spots((truth.shape[0], truth.shape[1]), rng.uniform(0.06, 0.2), 1, rng)
            severity = 0.2 + 0.8 * (turn + rng.random()) / each
            before = damaged(truth, kind, severity, region, rng) if kind in DAMAGE else truth
            grown = cv2.dilate(region, np.ones((9, 9), np.uint8))
            yield Offer("generative", kind, truth, before, on_region(restore, before, grown))


@dataclass(frozen=True)
class Sight:
    """How a result stands to the truth: ``better`` in [0, 1] by the label, ``ratio`` of distances in features,
    ``gain`` in dB. Of what did not change: 0.5, 1, 0.
    """

    better: float
    ratio: float
    gain: float

    @property
    def honest(self) -> bool:
        return self.better > 0.5


@torch.no_grad()
def sight(features: Features, offer: Offer, result: Image) -> Sight:
    truth, before, after = (tensor(image) for image in (offer.truth, offer.before, result))
    found = label(features, truth, before, after)
    weight = float(found.weight.sum())
    better = float((found.better * found.weight).sum()) / weight if weight else 0.5
    far = [float(features.distance(truth, x).mean) for x in (before, after)]
    ratio = far[1] / far[0] if far[0] else (1.0 if far[1] == 0 else float("inf"))
    return Sight(better, ratio, offers.gain(offer, result))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What acceptance did with an offer, and how the offer and what was written stand to the truth."""

    kind: str
    decision: str
    offered: Sight
    written: Sight

    @property
    def accepted(self) -> bool:
        return self.decision == "accepted"


def rows(found: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """By kind: how the offers stand to the truth, honest ones that were kept, harm that was written."""
    told: list[tuple[str, ...]] = []
    for kind in [*dict.fromkeys(one.kind for one in found), "all"]:
        of = [one for one in found if kind in (one.kind, "all")]
        honest = [one for one in of if one.offered.honest]
        kept = [one for one in honest if one.accepted]
        harmful = [one for one in of if not one.offered.honest]
        written = [one.written for one in of if one.accepted]
        worse, farther = sum(not w.honest for w in written), sum(w.gain < -offers.LOSES for w in written)
        ratios = [one.offered.ratio for one in honest]
        why = Counter(one.decision for one in honest if not one.accepted).most_common(3)
        nearer = [one for one in of if one.offered.ratio < 1]
        told.append((
            kind,
            f"{len(nearer)} / {sum(one.offered.gain > 0 for one in of)} of {len(of)}",
            f"{np.median(ratios):.2f}" if ratios else "",
            f"{len(kept)} of {len(honest)}",
            f"{sum(one.accepted for one in nearer)} of {len(nearer)}",
            f"{sum(one.accepted for one in harmful)} of {len(harmful)}",
            f"{worse} / {farther} of {len(written)}",
            ", ".join(f"{name} {count}" for name, count in why),
        ))  # fmt: skip
    return told


HEADS = (
    "kind", "nearer in features / in dB", "distance, median of honest", "honest by the label, kept",
    "nearer in features, kept", "others, accepted in part", "written and worse: by the label / in dB", "why not",
)  # fmt: skip
