"""The mapper's task: the severity of every patch, as a probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from qrefine.quality.map import Image
from qrefine.training.loop import Batch
from qrefine.training.pairs import Recipe, make_pair

RECIPE = Recipe(size=192, clean=0.25, whole=0.3)
"""Mostly regions, for the map must tell damaged patches from their neighbours."""

GRIDS = (3, 4, 6, 6, 8, 12)
"""n of a batch: patches of 64 down to 16 pixels in a crop of 192, most often 32, as in an image of 512."""


@dataclass(frozen=True)
class MapperSamples(Dataset[dict[str, np.ndarray]]):
    """Sample i: a damaged crop ``pixels`` (size, size, 3) uint8 and its ``severity`` (size, size)."""

    photos: Sequence[Image]
    seed: int
    recipe: Recipe = RECIPE

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        pair = make_pair(self.photos, self.recipe, (self.seed, index))
        return {"pixels": pair.damaged, "severity": pair.severity}


def mapper_loss(net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Cross-entropy of each patch's mean severity: proper for a mean, and steep near 0, where mild damage lies."""
    n = int(np.random.default_rng(step).choice(GRIDS))
    pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 255
    target = F.adaptive_avg_pool2d(batch["severity"][:, None], n)[:, 0]
    logits = net(pixels.contiguous(memory_format=torch.channels_last), n).float()
    return F.binary_cross_entropy_with_logits(logits, target)
