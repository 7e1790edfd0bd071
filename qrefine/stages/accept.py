"""Never worse: a refined image is judged cell by cell, what is not better is taken back, and what remains decides.

In this order. *Guards* without a network: what nobody can see is no repair, and mean colours stay (`guards`).
*The prompt*: what it asks for is no damage (`wishes`). *The judge* sees both images; in an image that is mostly
"damaged" it must be surer, and where too little of the change is confirmed there, the mapper is wrong, not the
image. Then *the mapper* scores what is left: patches that lost are taken back, in rounds, and the last of them
takes back whole regions. The gain counts where the change is. With ``accept.risk: null`` the mapper decides
alone, by the gain of q, as in the paper.

Invariants, whatever the models did (tests/stages/test_accept.py holds them as properties):

- a change that nobody can see is never accepted, and what was taken back holds the source's pixels;
- every changed cell that stays was confirmed by the judge, at the threshold of ``accept.risk``;
- no patch with a changed pixel lost more than ``tolerance``;
- an accepted image has a higher q, and gained more than ``min_gain`` where it changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from qrefine.config import RefineConfig
from qrefine.models.base import Comparator
from qrefine.quality.map import Image, Mapper, Plane, QualityMap
from qrefine.quality.pixels import Flags, blend, differs, laid_over
from qrefine.quality.regions import patch_any, patch_pixels
from qrefine.sample import Decision, Sample
from qrefine.stages.guards import cell_max, cell_pixels, check_pair, colour_limit, colour_moved, visible
from qrefine.stages.strengths import greatest_strength
from qrefine.stages.wishes import against_wishes, asked_for

CELL = 16
"""Pixels of a cell's side where no judge says another."""

AGREE = 0.1
"""Share of a region's cells that may be less sure than the others: they are taken back by themselves."""

REGION = 48
"""Cells along a side of a region at most, so that in a large image a bad corner refuses what is near it alone."""

MOSTLY = 0.5
"""More of an image than this below B_MQ, and less than this of its change confirmed: doubt."""

DOUBTFUL = 0.5
"""Of the risk, where most of an image is below B_MQ: what lies evenly over a whole image may be its look, and no
undamaged part of it tells."""


def worse_patches(before: QualityMap, after: QualityMap, changed: Flags, tolerance: float) -> Flags:
    """Patches that were changed and lost more than ``tolerance``, (n, n).

    A patch whose own pixels stand may score lower for its neighbours' sake: that is no harm done to it.
    """
    return (after.values < before.values - tolerance) & patch_any(changed, before.n)


def keep_weight(back: Flags, reach: float) -> Plane:
    """0 on the pixels that are taken back, rising to 1 over ``reach`` pixels around them, (h, w)."""
    keep = (~back).astype(np.uint8)
    if not back.any():
        return np.ones(back.shape, dtype=np.float32)
    distance = cv2.distanceTransform(keep, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.clip(distance / max(1.0, reach), 0, 1).astype(np.float32)


def taken_back(sample: Sample, back: Flags, reach: float, cell: int) -> Image:
    """The sample's pixels with the source's where ``back`` (h, w), and softly less around.

    Cells in which nothing is seen to change hold the source's too.
    """
    height, width = back.shape
    mixed = blend(sample.image, sample.pixels, keep_weight(back, reach)) if back.any() else sample.pixels
    unseen = cell_pixels(~visible(sample.image, mixed, cell), height, width, cell)
    unseen &= differs(sample.image, mixed)
    return laid_over(mixed, sample.image, unseen) if unseen.any() else mixed


def regions_of(pixels: Flags, cells: Flags, cell: int) -> Flags:
    """The pixels of those connected regions of true ``cells`` that hold one of ``pixels``, (h, w)."""
    _, labels = cv2.connectedComponents(cells.astype(np.uint8), connectivity=8)
    touched = np.unique(labels[cell_max(pixels, cell) & cells])
    height, width = pixels.shape
    return cell_pixels(np.isin(labels, touched) & cells, height, width, cell) | pixels


def by_region(better: Plane, seen: Flags) -> Plane:
    """``better`` by cell, in each region of ``seen`` at most what nine in ten of its cells reach.

    Of many cells the surest is often wrong, so one cell must not carry a change through: where nine in ten have to
    agree, a lower threshold has the same risk. Regions are 8-connected, and end at a grid of REGION cells.
    """
    rows, columns = (np.arange(length) // REGION for length in seen.shape)
    tiles = np.add.outer(rows * (columns.size + 1), columns)
    _, labels = cv2.connectedComponents(seen.astype(np.uint8), connectivity=8)
    regions, values = (labels * (tiles.max() + 1) + tiles)[seen], better[seen]
    order = np.lexsort((values, regions))
    _, starts, of, counts = np.unique(regions[order], return_index=True, return_inverse=True, return_counts=True)
    verdict = better.copy()
    most = values[order][starts + ((counts - 1) * AGREE).astype(int)]
    values[order] = np.minimum(values[order], most[of])
    verdict[seen] = values
    return verdict


class Accept:
    """Compares refined images with their sources, takes back what is not better, and decides.

    ``redraws``: a backend draws anew instead of mending, so colours may move further where its strength is high.
    """

    def __init__(
        self,
        config: RefineConfig,
        mapper: Mapper,
        comparator: Comparator | None = None,
        redraws: bool = False,
    ) -> None:
        self.config, self.settings = config, config.accept
        self.mapper, self.comparator = mapper, comparator
        self.redraws = redraws
        self.cell = CELL if comparator is None else comparator.cell
        self.threshold = 0.0 if comparator is None else self._threshold(comparator, 1.0)
        self.doubtful = 0.0 if comparator is None else self._threshold(comparator, DOUBTFUL)

    def wants(self, sample: Sample) -> bool:
        return sample.decision is None and sample.refined is not None and sample.after is None

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        done = self._confirmed(samples)
        pending = [i for i, sample in enumerate(done) if sample.decision is None]
        for left in reversed(range(-1, self.settings.rounds + 1)):
            if not pending:
                break
            maps = self.mapper([done[i].pixels for i in pending])
            for i, after in zip(pending, maps, strict=True):
                done[i] = self._decided(done[i], after, left)
            pending = [i for i in pending if done[i].decision is None]
        return done

    def _threshold(self, comparator: Comparator, share: float) -> float:
        """The judge's threshold at a ``share`` of the risk."""
        chosen, risk = self.settings.threshold, self.settings.risk
        if chosen is not None:
            return chosen
        return 0.0 if risk is None else comparator.threshold(share * risk)

    def _confirmed(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with what the guards, the prompt and the judge refuse taken back."""
        done = [self._seen(sample) for sample in samples]
        if self.comparator is None:
            return done
        left = [i for i, sample in enumerate(done) if sample.decision is None]
        answers = self.comparator([done[i].image for i in left], [done[i].pixels for i in left])
        for i, better in zip(left, answers, strict=True):
            done[i] = self._judged(done[i], better)
        return done

    def _seen(self, sample: Sample) -> Sample:
        """The sample without what nobody sees of its change."""
        if not check_pair(sample.image, sample.pixels):
            return sample.kept("not_finite")
        mixed = taken_back(sample, np.zeros(sample.image.shape[:2], dtype=bool), 1, self.cell)
        if not visible(sample.image, mixed, self.cell).any():
            return sample.kept("not_visible")
        return replace(sample, refined=mixed)

    def _judged(self, sample: Sample, better: Plane) -> Sample:
        """The sample with its refused cells taken back; ``better`` is the judge's probability by cell."""
        before, after, cell = sample.image, sample.pixels, self.cell
        height, width = before.shape[:2]
        seen = visible(before, after, cell)
        strength = greatest_strength(self.config, sample.quality, height, width) if self.redraws else None
        limit = colour_limit(strength, self.settings.colour, cell, seen.shape)
        poor = float((sample.quality.values < self.config.bounds.mq).mean()) > MOSTLY
        refused: dict[Decision, Flags] = {
            "colour": seen & (colour_moved(before, after, cell) > limit),
            "judged_worse": seen & (by_region(better, seen) < (self.doubtful if poor else self.threshold)),
        }
        wishes = asked_for(sample.prompt, self.settings.wishes)
        if wishes:
            refused["prompt"] = seen & against_wishes(wishes, before, after, cell)
        if poor and refused["judged_worse"].sum() > (1 - MOSTLY) * seen.sum():
            return sample.kept("doubt")
        back = np.logical_or.reduce(list(refused.values()))
        if not back.any():
            return sample
        mixed = taken_back(sample, cell_pixels(back, height, width, cell), self.settings.feather * cell, cell)
        if not visible(before, mixed, cell).any():
            return sample.kept(max(refused, key=lambda reason: int(refused[reason].sum())))
        return replace(sample, refined=mixed)

    def _decided(self, sample: Sample, after: QualityMap, left: int) -> Sample:
        """The sample accepted or kept; else with its worse patches taken back, to be scored again.

        ``left``: how many more times patches are taken back; with 0 the regions they are in go with them.
        """
        changed = differs(sample.image, sample.pixels)
        worse = worse_patches(sample.quality, after, changed, self.settings.tolerance)
        if not worse.any():
            if self._gained(sample.quality, after, changed):
                return replace(sample, after=after, decision="accepted")
            return sample.kept("no_gain")
        if left < 0:
            return sample.kept("no_gain")
        height, width = changed.shape
        back = patch_pixels(worse, height, width) & changed  # the seam lies within the change, not beside it
        reach = self.settings.feather * min(height, width) / worse.shape[0]
        if left == 0:
            back = regions_of(back, cell_max(changed, self.cell), self.cell)
        fewer = taken_back(sample, back, reach, self.cell)
        if not visible(sample.image, fewer, self.cell).any():
            return sample.kept("no_gain")
        return replace(sample, refined=fewer)

    def _gained(self, before: QualityMap, after: QualityMap, changed: Flags) -> bool:
        gain = after.score - before.score
        if self.comparator is None:
            return gain > self.settings.min_gain
        here = patch_any(changed, before.n)
        there = after.values[here].mean(dtype=np.float64) - before.values[here].mean(dtype=np.float64)
        return gain > 0 and float(there) > self.settings.min_gain
