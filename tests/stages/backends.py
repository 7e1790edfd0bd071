"""Backends that do what a test needs: wild restorers, mappers that answer what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from qrefine.quality.map import Image, Plane, QualityMap
from qrefine.quality.regions import patch_any


class Wild:
    """Changes every pixel that it is given, whatever the strength: the worst a model may do."""

    context = 8

    def __init__(self, weights: str | None = None) -> None:
        self.calls: list[tuple[list[Image], list[Plane], list[str], list[int]]] = []

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        self.calls.append((list(images), list(strengths), list(prompts), list(seeds)))
        return [254 - image // 2 for image in images]  # no value is its own


class Idle(Wild):
    """Changes nothing."""

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        super().__call__(images, strengths, prompts, seeds)
        return list(images)


class Told:
    """A mapper that asks a function."""

    def __init__(self, answer: Callable[[Image], np.ndarray]) -> None:
        self.answer = answer
        self.images = 0

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        self.images += len(images)
        return [QualityMap(self.answer(image)) for image in images]


def better_where_changed(source: Image, by: float = 0.3) -> Told:
    """A mapper that likes each patch of 3 x 3 better where it differs from the source."""
    return Told(lambda image: 0.5 + by * patch_any((image != source).any(axis=-1), 3))


def quality(rows: Sequence[Sequence[float]]) -> QualityMap:
    return QualityMap(np.array(rows, dtype=np.float32))
