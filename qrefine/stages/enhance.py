"""Stage 3: global enhancement, blind or prompt-guided (Q-Refine, equation 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qrefine.config import RefineConfig
from qrefine.models.base import Restorer
from qrefine.sample import Sample
from qrefine.stages.crops import fed_pixels, restore_defects
from qrefine.stages.strengths import blindly, enhance_work

ENHANCED = {"enhance_blind", "enhance_prompt"}


class Enhance:
    """I_f = E_B(I2) if q < B_HQ else E_P(I2).

    In mode fused strength falls to 0 where Q >= B_HQ, so a good region is never enhanced because of bad
    neighbours, and an image with no region below B_MQ and q >= B_HQ is not changed at all
    (ARCHITECTURE.md#decisions). In mode paper each image is enhanced, all of it at the same strength.
    Without a prompt-guided backend E_P is E_B at ``prompt_strength``.
    """

    def __init__(self, config: RefineConfig, blind: Restorer, prompt: Restorer | None = None) -> None:
        self.config = config
        self.blind = blind
        self.prompt = prompt

    def wants(self, sample: Sample) -> bool:
        if sample.decision is not None or ENHANCED & set(
            sample.stages
        ):  # already enhanced in the inpainter's pass
            return False
        if self.config.mode == "paper":
            return True
        return blindly(self.config, sample.quality) or bool((sample.quality.values < self.config.bounds.mq).any())

    def fed(self, sample: Sample) -> int:
        """Pixels that the model is given for a sample that this stage wants: what it costs."""
        blind = blindly(self.config, sample.quality)
        work = enhance_work(self.config, sample.quality, *sample.image.shape[:2], blind=blind)
        return fed_pixels(work.strength, self.blind if blind or self.prompt is None else self.prompt)

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        done = list(samples)
        switches = [blindly(self.config, sample.quality) for sample in samples]
        for blind in (True, False):
            members = [i for i, switch in enumerate(switches) if switch == blind]
            for i, enhanced in zip(members, self.run([samples[i] for i in members], blind), strict=True):
                done[i] = enhanced
        return done

    def run(self, samples: Sequence[Sample], blind: bool) -> list[Sample]:
        """E_B, or E_P, of all the samples, whatever their q."""
        settings = self.config.enhance
        guide = None if blind else self.prompt
        works = [
            enhance_work(self.config, sample.quality, *sample.image.shape[:2], blind=blind) for sample in samples
        ]
        words = "" if guide is None else settings.positive_words
        # the words come first: what a long prompt has beyond the model's tokens is cut
        full = ["" if guide is None else ", ".join(filter(None, (words, sample.prompt))) for sample in samples]
        images = restore_defects(
            self.blind if guide is None else guide,
            [sample.pixels for sample in samples],
            [work.strength for work in works],
            full,
            [sample.seed + 1 for sample in samples],  # different noise than stage 2
            full if self.config.mode == "paper" else [words] * len(samples),
        )
        return [
            sample if np.array_equal(image, sample.pixels) else sample.changed(image, *work.stages)
            for sample, work, image in zip(samples, works, images, strict=True)
        ]
