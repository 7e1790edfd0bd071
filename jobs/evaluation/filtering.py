"""How well q tells damaged from undamaged pictures when a corpus is filtered: over one source, and over all mixed.

Over one source only the damage differs. Mixed, a picture must also not rank low for its style: that is what a
filter of a real corpus needs, and where a network that knows photographs alone fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from training.degradations_cv2 import KINDS
from training.figures import Image, Plane, auc, damage

LOW, HIGH = 0.4, 1.0
"""Severities of the damage: what a person would filter."""

DROP = 0.01
"""By how much q must fall for the damage to count as seen."""


def damaged(pictures: Sequence[Image], seed: int) -> list[Image]:
    """Each picture with one kind of damage in a region of its own, kinds in turn."""
    kinds, made = tuple(KINDS), []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, number))
        made.append(damage(picture, kinds[number % len(kinds)], rng.uniform(LOW, HIGH), rng, local=True).damaged)
    return made


def rows(
    scores: Callable[[list[Image]], list[Plane]], sources: Mapping[str, Sequence[Image]], seed: int
) -> list[list[str]]:
    """By source and for all: pictures, AUC of q, and the share of pictures whose q the damage lowers."""
    before = {name: _means(scores(list(some))) for name, some in sources.items()}
    after = {name: _means(scores(damaged(some, seed))) for name, some in sources.items()}
    groups = {**{name: [name] for name in sources}, "all, mixed": list(sources)}
    found = []
    for line, names in groups.items():
        first, second = (np.concatenate([of[name] for name in names]) for of in (before, after))
        told = auc(-np.concatenate([first, second]), np.arange(2 * len(first)) >= len(first))
        found.append([line, str(len(first)), f"{told:.3f}", f"{(second < first - DROP).mean():.0%}"])
    return found


def _means(maps: Sequence[Plane]) -> np.ndarray:
    return np.array([float(values.mean()) for values in maps])
