"""Any whole-image metric of ``pyiqa`` as a quality map, by scoring overlapping tiles.

The names are pyiqa's: ``tiles:clipiqa``, ``tiles:hyperiqa``, ``tiles:musiq``, ``tiles:qalign``, ... For
its licence see `qrefine.models.judges.metric`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from qrefine.models.device import pick_batch, pick_device
from qrefine.models.judges.metric import load_metric, metric_input
from qrefine.models.memory import FittingBatches
from qrefine.models.options import BatchOptions
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import edges, patch_count

GPU_BATCH = 32
NUMBER = re.compile(r"~?(-?\d+(?:\.\d+)?)")


class TilesOptions(BatchOptions):
    tile: int = Field(
        224, ge=16, le=4096, description="side of a tile in pixels; a smaller image is one tile along that axis"
    )
    overlap: float = Field(0.5, ge=0, lt=1, description="share of a tile that the next tile overlaps")
    scale: tuple[float, float] | None = Field(
        None, description="[worst, best] scores, mapped to 0 and 1; null: the range stated by pyiqa"
    )


class TilesMapper:
    """Q from a metric's scores of overlapping square tiles: each patch takes the mean of the tiles over it."""

    Options = TilesOptions

    def __init__(
        self, metric: str, weights: str | None = None, grid: int = 16, patch: int | None = None, **options: Any
    ) -> None:
        given = self.Options.of(options)
        self.grid, self.patch = grid, patch
        self.tile, self.overlap = given.tile, given.overlap
        self.device = pick_device(given.device)
        self.batches = FittingBatches(pick_batch(given.batch_size, self.device, GPU_BATCH))
        self.metric = load_metric(metric, self.device, weights)
        self.worst, self.best = given.scale or _scale(metric, self.metric)
        if self.worst == self.best:
            raise ValueError(f"scale: worst and best are both {self.worst:g}")

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        tiles: dict[tuple[int, int], list[tuple[int, int, int, Image]]] = {}
        scores: list[NDArray[np.float64]] = []
        axes = [self._axes(image) for image in images]
        for i, (image, (rows, columns)) in enumerate(zip(images, axes, strict=True)):
            height, width = (min(self.tile, side) for side in image.shape[:2])
            scores.append(np.zeros((len(rows), len(columns))))
            for a, top in enumerate(rows):
                for b, left in enumerate(columns):
                    pixels = image[top : top + height, left : left + width]
                    tiles.setdefault((height, width), []).append((i, a, b, pixels))
        for size, same_size in tiles.items():
            found = self.batches.map([pixels for *_, pixels in same_size], self._score, size)
            for (i, a, b, _), score in zip(same_size, found, strict=True):
                scores[i][a, b] = score
        return [self._map(image, *axis, one) for image, axis, one in zip(images, axes, scores, strict=True)]

    def _axes(self, image: Image) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        first, second = (tile_starts(side, self.tile, self.overlap) for side in image.shape[:2])
        return first, second

    @torch.no_grad()
    def _score(self, tiles: Sequence[Image]) -> list[float]:
        scores = np.asarray(self.metric(metric_input(tiles, self.device)).double().cpu()).reshape(-1)
        return list(np.clip((scores - self.worst) / (self.best - self.worst), 0, 1))

    def _map(
        self, image: Image, rows: NDArray[np.intp], columns: NDArray[np.intp], scores: NDArray[np.float64]
    ) -> QualityMap:
        height, width = image.shape[:2]
        n = patch_count(height, width, self.grid, self.patch)
        down, across = (
            tile_weights(side, n, starts, min(self.tile, side))
            for side, starts in ((image.shape[0], rows), (image.shape[1], columns))
        )
        return QualityMap(np.clip(down @ scores @ across.T, 0, 1).astype(np.float32))


def tile_starts(side: int, tile: int, overlap: float) -> NDArray[np.intp]:
    """First pixels of tiles that cover ``side`` pixels, evenly spread, with at least the given overlap."""
    if side <= tile:
        return np.zeros(1, dtype=np.intp)
    count = int(np.ceil((side - tile) / max(1.0, tile * (1 - overlap)))) + 1
    return np.linspace(0, side - tile, count).round().astype(np.intp)


def tile_weights(side: int, n: int, starts: NDArray[np.intp], tile: int) -> NDArray[np.float64]:
    """(n, tiles): weight of each tile in each patch along one axis, by common pixels; rows add up to 1."""
    borders = edges(side, n)
    first = np.minimum(borders[:-1], side - 1)
    last = np.maximum(borders[1:], first + 1)  # a patch narrower than a pixel takes that pixel
    common = np.minimum(last[:, None], starts + tile) - np.maximum(first[:, None], starts)
    weights = np.maximum(common, 0).astype(np.float64)
    return weights / weights.sum(axis=1, keepdims=True)


def _scale(name: str, metric: Any) -> tuple[float, float]:
    """(worst, best) of the range that pyiqa states, such as ``0, 1`` or ``~0, ~100``."""
    ends = [NUMBER.fullmatch(part.strip()) for part in str(getattr(metric, "score_range", None)).split(",")]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        raise ValueError(f"pyiqa states no range for {name!r}: set the option scale to [worst, best]")
    low, high = (float(end[1]) for end in ends if end is not None)
    return (high, low) if getattr(metric, "lower_better", False) else (low, high)
