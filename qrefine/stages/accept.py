"""Do no harm: a refined region stays only where the map did not fall, a refined image only if q rose.

Invariants, whatever the models did (tests/stages/test_accept.py holds them as properties):

- an accepted image has q higher than the source's by more than ``min_gain``;
- no patch with a changed pixel lost more than ``tolerance``;
- a patch that was taken back holds the source's pixels exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.config import RefineConfig
from qrefine.quality.map import Image, Mapper, Plane, QualityMap
from qrefine.quality.regions import patch_any, patch_pixels
from qrefine.sample import Sample

Judge = Callable[[Image], float]


def worse_patches(
    before: QualityMap, after: QualityMap, changed: NDArray[np.bool_], tolerance: float
) -> NDArray[np.bool_]:
    """Patches that were changed and lost more than ``tolerance``, (n, n).

    A patch whose own pixels stand may score lower for its neighbours' sake: that is no harm done to it.
    """
    return (after.values < before.values - tolerance) & patch_any(changed, before.n)


def keep_weight(worse: NDArray[np.bool_], height: int, width: int, *, feather: float) -> Plane:
    """0 on the pixels of worse patches, rising to 1 over ``feather`` patch sides around them, (height, width)."""
    keep = (~patch_pixels(worse, height, width)).astype(np.uint8)
    reach = max(1.0, feather * min(height, width) / worse.shape[0])
    distance = cv2.distanceTransform(keep, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.clip(distance / reach, 0, 1).astype(np.float32)


def blend(source: Image, refined: Image, weight: Plane) -> Image:
    """weight * refined + (1 - weight) * source; exact where the weight is 0 or 1."""
    w = weight[..., None]
    return np.rint(w * refined + (1 - w) * source).astype(np.uint8)


class Accept:
    """Scores refined images again, takes worse patches back, and decides; judges then report beside."""

    def __init__(self, config: RefineConfig, mapper: Mapper, judges: Sequence[Judge] = ()) -> None:
        self.settings = config.accept
        self.mapper = mapper
        self.judges = tuple(judges)

    def wants(self, sample: Sample) -> bool:
        return sample.refined is not None and sample.after is None

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        done = list(samples)
        pending = list(range(len(done)))
        for rounds_left in reversed(range(self.settings.rounds + 1)):
            maps = self.mapper([done[i].pixels for i in pending])
            again = []
            for i, after in zip(pending, maps, strict=True):
                done[i], decided = self._decide(done[i], after, last=rounds_left == 0)
                if not decided:
                    again.append(i)
            pending = again
            if not pending:
                break
        return [self._judge(sample) if sample.refined is not None else sample for sample in done]

    def _decide(self, sample: Sample, after: QualityMap, last: bool) -> tuple[Sample, bool]:
        """The sample accepted or rejected, and whether that is final; else with its worse patches taken back."""
        changed = (sample.pixels != sample.image).any(axis=-1)
        worse = worse_patches(sample.quality, after, changed, self.settings.tolerance)
        if not worse.any():
            better = after.score > sample.quality.score + self.settings.min_gain
            return (replace(sample, after=after) if better else _rejected(sample)), True
        if last:
            return _rejected(sample), True
        weight = keep_weight(worse, *sample.image.shape[:2], feather=self.settings.feather)
        mixed = blend(sample.image, sample.pixels, weight)
        if np.array_equal(mixed, sample.image):
            return _rejected(sample), True
        return replace(sample, refined=mixed), False

    def _judge(self, sample: Sample) -> Sample:
        pairs = tuple((judge(sample.image), judge(sample.pixels)) for judge in self.judges)
        return replace(sample, judgements=pairs)


def _rejected(sample: Sample) -> Sample:
    return replace(sample, refined=None, stages=(), after=None)
