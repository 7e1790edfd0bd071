"""Models that take a known time: the rest of a run's time is the pipeline's."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from qrefine.quality.map import Image, Plane, QualityMap

GOOD, POOR, MENDED = 0.9, 0.3, 0.85
MARK = 8  # side of the corner square whose brightness decides a sleeping mapper's Q


class SleepingMapper:
    """Q by the brightness of the image's corner: dark is GOOD, white POOR, grey (a restored one's) MENDED."""

    def __init__(self, weights: str | None = None, grid: int = 16, seconds: float = 0.0) -> None:
        self.grid, self.seconds = grid, seconds

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        time.sleep(self.seconds * len(images))
        return [self._map(float(image[:MARK, :MARK].mean())) for image in images]

    def _map(self, corner: float) -> QualityMap:
        q = POOR if corner > 192 else MENDED if corner > 64 else GOOD
        return QualityMap(np.full((self.grid, self.grid), q, np.float32))


class SleepingRestorer:
    """Turns the corner grey."""

    context = 0

    def __init__(self, weights: str | None = None, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(
        self, images: Sequence[Image], strengths: Sequence[Plane], prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[Image]:
        time.sleep(self.seconds * len(images))
        results = [image.copy() for image in images]
        for result in results:
            result[:MARK, :MARK] = 128
        return results
