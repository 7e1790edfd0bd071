"""PIQE's blocks as a quality map, without weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qrefine.models.judges.piqe import BLOCK, piqe_blocks
from qrefine.models.options import Options
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import edges, patch_count


class PiqeMapper:
    """1 - the share of each patch's pixels that PIQE marks as blocky or noisy; in [0, 1].

    PIQE looks at blocks of 16 pixels and sees no blur: flat and smooth patches count as good. It is the
    option without weights; the embedded network detects far more.
    """

    Options = Options  # none

    def __init__(self, weights: str | None = None, grid: int = 16, patch: int | None = None) -> None:
        if weights is not None:
            raise ValueError("the piqe mapper has no weights")
        self.grid, self.patch = grid, patch

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        return [self._map(image) for image in images]

    def _map(self, image: Image) -> QualityMap:
        height, width = image.shape[:2]
        n = patch_count(height, width, self.grid, self.patch)
        found = piqe_blocks(image)
        damage = (found.blocky | found.noisy).repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]
        total = np.zeros((height + 1, width + 1))  # integral image: patch means without a loop
        total[1:, 1:] = damage.cumsum(0).cumsum(1)
        top, left = (np.minimum(edges(size, n)[:-1], size - 1) for size in (height, width))
        bottom, right = (
            np.maximum(edges(size, n)[1:], start + 1) for size, start in ((height, top), (width, left))
        )
        area = np.outer(bottom - top, right - left)
        inside = total[np.ix_(bottom, right)] - total[np.ix_(top, right)] - total[np.ix_(bottom, left)]
        mean = (inside + total[np.ix_(top, left)]) / area
        return QualityMap(np.clip(1 - mean, 0, 1).astype(np.float32))
