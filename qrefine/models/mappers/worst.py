"""Several mappers at once: each patch has the quality that the strictest of them gives it.

Scores of different networks do not mean the same. Each mapper's are therefore brought to the scale of the
settings' ``bounds`` first, by the line through its own bounds: what is exactly at its own B_MQ comes out at B_MQ.
``qrefine plan --calibrate`` proposes such bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qrefine.config import Backend, Bounds, MapperSettings
from qrefine.models.mappers.roi import average_weights
from qrefine.models.options import Options
from qrefine.models.registry import DEFAULT_BOUNDS, load_mapper
from qrefine.quality.map import Image, QualityMap

WORST = "worst"
"""The name of `WorstMapper` in the settings."""


class Member(Backend):
    bounds: Bounds | None = Field(
        None, description="B_LQ, B_MQ, B_HQ on this mapper's scale; null: as the others'"
    )

    def settings(self, grid: int, patch: int | None) -> MapperSettings:
        """The settings of this mapper alone."""
        return MapperSettings(**self.model_dump(exclude={"bounds"}), grid=grid, patch=patch)


class WorstOptions(Options):
    mappers: tuple[Member, ...] = Field(
        min_length=1, description="each with name, weights, options, and bounds of its own"
    )

    def backends(self) -> Sequence[tuple[str, Backend]]:
        return [("mapper", member) for member in self.mappers]


class WorstMapper:
    """The least of several quality maps, patch by patch, on the scale of ``bounds``.

    ``mappers``: see `Member`; ``mapper: [a, {name: b, weights: ...}]`` in the YAML is short for it. All get the
    same ``grid`` and ``patch``. Where one answers with fewer patches, its map is resampled to the most: a patch
    takes the mean of those it lies in, by area.
    """

    Options = WorstOptions

    def __init__(
        self,
        weights: str | None = None,
        grid: int = 16,
        patch: int | None = None,
        bounds: Bounds = DEFAULT_BOUNDS,
        **options: Any,
    ) -> None:
        if weights is not None:
            raise ValueError("weights belong to the mappers that it combines")
        self.bounds = bounds
        self.members = self.Options.of(options).mappers
        self.mappers = [load_mapper(member.settings(grid, patch)) for member in self.members]

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        found = [
            [self._common(quality, member) for quality in mapper(images)]
            for mapper, member in zip(self.mappers, self.members, strict=True)
        ]
        return [worst(maps) for maps in zip(*found, strict=True)]

    def _common(self, quality: QualityMap, member: Member) -> QualityMap:
        if member.bounds is None:
            return quality
        return QualityMap(rescaled(quality.values, member.bounds, self.bounds))


def rescaled(values: NDArray[np.float32], own: Bounds, common: Bounds) -> NDArray[np.float32]:
    """Scores in [0, 1] with bounds ``own`` on the scale of ``common``: linear between 0, B_LQ, B_MQ, B_HQ and 1.

    A score is below a bound of ``common`` if and only if it was below that of ``own``, as far as float32 can tell.
    """
    x, y = (np.array([0, b.lq, b.mq, b.hq, 1], dtype=np.float32) for b in (own, common))
    return np.interp(values, x, y).astype(np.float32)


def worst(maps: Sequence[QualityMap]) -> QualityMap:
    """The least of maps of one image, on as many patches as the finest has."""
    n = max(quality.n for quality in maps)
    return QualityMap(np.minimum.reduce([_resampled(quality, n) for quality in maps]))


def _resampled(quality: QualityMap, n: int) -> NDArray[np.float32]:
    if quality.n == n:
        return quality.values
    weights = average_weights(quality.n, 1, quality.n, n).numpy().astype(np.float64)
    return np.clip(weights @ quality.values @ weights.T, 0, 1).astype(np.float32)
