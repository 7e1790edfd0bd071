"""Stage 3: global enhancement, blind or prompt-guided (Q-Refine, equation 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qrefine.config import RefineConfig
from qrefine.models.base import Restorer
from qrefine.pipelines.crops import restore_defects
from qrefine.pipelines.sample import Sample
from qrefine.quality.map import Plane
from qrefine.quality.regions import flatten, strength


class Enhance:
    """I_f = E_B(I2) if q < B_HQ else E_P(I2).

    Strength falls to 0 where Q >= B_HQ, so a good region is never enhanced for its bad neighbours' sake, and
    an image with no region below B_MQ and q >= B_HQ is not touched at all (design: pay for what is broken).
    Without a prompt-guided backend E_P is E_B at ``prompt_strength``.
    """

    def __init__(self, config: RefineConfig, blind: Restorer, prompt: Restorer | None = None) -> None:
        self.config = config
        self.blind = blind
        self.prompt = prompt

    def wants(self, sample: Sample) -> bool:
        bounds = self.config.bounds
        return sample.quality.score < bounds.hq or bool((sample.quality.values < bounds.mq).any())

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        done = list(samples)
        blindly = [sample.quality.score < self.config.bounds.hq for sample in samples]
        for stage, blind in (("enhance_blind", True), ("enhance_prompt", False)):
            members = [i for i, which in enumerate(blindly) if which == blind]
            images = self._run(stage, [samples[i] for i in members])
            for i, image in zip(members, images, strict=True):
                if not np.array_equal(image, samples[i].pixels):
                    done[i] = samples[i].changed(image, stage)
        return done

    def _run(self, stage: str, samples: Sequence[Sample]) -> list[np.ndarray]:
        settings = self.config.enhance
        guided = stage == "enhance_prompt" and self.prompt is not None
        most = settings.blind_strength if stage == "enhance_blind" else settings.prompt_strength
        words = settings.positive_words
        return restore_defects(
            self.prompt if guided and self.prompt is not None else self.blind,
            [sample.pixels for sample in samples],
            [self._strength(sample, most) for sample in samples],
            [", ".join(filter(None, (sample.prompt, words))) if guided else "" for sample in samples],
            [sample.seed + 1 for sample in samples],  # not the noise that stage 2 drew
        )

    def _strength(self, sample: Sample, most: float) -> Plane:
        bounds = self.config.bounds
        return strength(flatten(sample.quality, *sample.image.shape[:2]), bounds.lq, bounds.hq, most)
