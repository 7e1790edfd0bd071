"""Stage 2: inpainting of regions below B_MQ; no other pixel changes (Q-Refine, equations 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qrefine.config import RefineConfig
from qrefine.models.base import Restorer
from qrefine.quality.map import Image
from qrefine.quality.pixels import laid_over
from qrefine.sample import Sample
from qrefine.stages.crops import fed_pixels, restore_defects
from qrefine.stages.strengths import Work, inpaint_work


class Inpaint:
    """I2 = D_m(D_{m-1}(... D_1(I1))) with the mask {Q < B_MQ}, or with a strength map in mode fused.

    In mode fused a crop that shows little of its image is drawn after the positive words, or the model would draw
    the prompt's subject into it. A restorer that is also the blind enhancer may run stage 3 in the same pass
    (``inpaint_work``).
    """

    def __init__(self, config: RefineConfig, restorer: Restorer) -> None:
        self.config = config
        self.restorer = restorer

    def wants(self, sample: Sample) -> bool:
        return sample.decision is None and bool((sample.quality.values < self.config.bounds.mq).any())

    def fed(self, sample: Sample) -> int:
        """Pixels that the model is given for a sample that this stage wants: what it costs."""
        work = inpaint_work(self.config, sample.quality, self.restorer, *sample.image.shape[:2])
        return fed_pixels(work.strength, self.restorer)

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        works = [
            inpaint_work(self.config, sample.quality, self.restorer, *sample.image.shape[:2]) for sample in samples
        ]
        prompts = [sample.prompt or "" for sample in samples]
        images = restore_defects(
            self.restorer,
            [sample.pixels for sample in samples],
            [work.strength for work in works],
            prompts,
            [sample.seed for sample in samples],
            prompts if self.config.mode == "paper" else [self.config.enhance.positive_words] * len(samples),
        )
        return [_masked(*one) for one in zip(samples, works, images, strict=True)]


def _masked(sample: Sample, work: Work, image: Image) -> Sample:
    # stage 1 noised only where Q < B_LQ <= B_MQ, so where the mask is 0 the source is kept
    image = laid_over(sample.image, image, work.strength > 0)
    if np.array_equal(image, sample.image):
        return replace(sample, refined=None, stages=())
    return sample.changed(image, *work.stages)
