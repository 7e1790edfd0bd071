"""Stage 1: Gaussian noise on low-quality regions (Q-Refine, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qrefine.config import RefineConfig
from qrefine.quality.map import Image, Plane
from qrefine.quality.regions import flatten
from qrefine.sample import Sample


def noise_weight(plane: Plane, b_lq: float) -> Plane:
    """W = max(B_LQ - Q, 0), (h, w) in [0, B_LQ]."""
    return np.maximum(b_lq - plane, 0).astype(np.float32)


def add_noise(image: Image, w: Plane, seed: int, mean: float, std: float) -> Image:
    """I1 = W G + (1 - W) I, with G ~ N(mean, std) clipped to [0, 1]; where W is 0 the pixel stays exactly.

    G has the size (h, w), as the paper writes it: one value for all channels of a pixel.
    """
    rng = np.random.default_rng(seed)
    g = np.clip(rng.normal(mean, std, size=w.shape), 0, 1).astype(np.float32)
    blend = (w * g)[..., None] * 255 + (1 - w[..., None]) * image
    return np.rint(blend).astype(np.uint8)


class Noise:
    """Helps the next stage to leave a local optimum; on its own it lowers quality, so it runs in mode paper only.

    In mode fused the scheduler adds the noise, consistent with its diffusion model.
    """

    def __init__(self, config: RefineConfig) -> None:
        self.config = config

    def wants(self, sample: Sample) -> bool:
        if self.config.mode != "paper" or sample.decision is not None:
            return False
        return bool((sample.quality.values < self.config.bounds.lq).any())

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        return [self._noise(sample) for sample in samples]

    def _noise(self, sample: Sample) -> Sample:
        config = self.config
        w = noise_weight(flatten(sample.quality, *sample.image.shape[:2]), config.bounds.lq)
        noised = add_noise(sample.pixels, w, sample.seed, config.noise.mean, config.noise.std)
        return sample.changed(noised, "noise")
