"""The mapper's task: the severity of every patch, as a probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from qrefine.models.mappers.embedded_net import ARCHITECTURE, FAMILIES, MapperNet
from qrefine.models.weights import load_weights
from qrefine.quality.map import Image
from qrefine.training.degradations import FAMILY
from qrefine.training.job import Phase, Task, Trained
from qrefine.training.loop import Batch
from qrefine.training.pairs import Recipe, make_pair

RECIPE = Recipe(
    size=192, clean=0.25, whole=0.3,
    weights=(
        ("blur", 4), ("noise", 3), ("compression", 4.5), ("resampling", 4), ("surface", 6), ("content", 6),
        ("mixture", 2.5),
    ),
)  # fmt: skip
"""Mostly regions, for the map must tell damaged patches from their neighbours; more of what is hard to see.

Fewer clean crops and more mild damage (0.2 and 0.5, 88 minutes from the weights we ship) ranked better (AUC 0.985
and 0.940, Spearman 0.842), but took a pristine photograph's ornaments for damage, and the restorer smeared them.
"""

GRIDS = (3, 4, 6, 6, 8, 12)
"""n of a batch: patches of 64 down to 16 pixels in a crop of 192, most often 32, as in an image of 512."""

CAUSES = 0.3
"""Weight of the seven families' severities together, beside the severity of all damage."""

_FINEST = 48

USE = """The quality mapper that `qrefine` uses where no other is configured: an n x n map of an RGB image of
any size, Q = 1 - the severity of damage seen in the patch, in [0, 1], and q = Avg(Q). It sees blur, noise,
compression, resampling and up-sampling artifacts, over-smoothing, posterisation, ringing, drifting colour
planes, swapped patches and bent shapes. It judges technical quality, not beauty, nor whether an image fits
its prompt."""

LIMITS = """Trained on damage made by program over photographs and simple scenes. What generators get wrong in
meaning (hands, faces, letters) it sees only as far as it looks like such damage. A shallow depth of field can
be taken for mild blur. Two images of other content and equal damage differ somewhat in q: compare maps of the
same image first. Patches of fewer than 8 pixels, and images of fewer than 64, are judged by little
evidence."""


@dataclass(frozen=True)
class MapperSamples(Dataset[dict[str, np.ndarray]]):
    """Sample i: a damaged crop ``pixels`` (size, size, 3) uint8 and ``severity`` (48, 48, 1 + families)."""

    photos: Sequence[Image]
    seed: int
    recipe: Recipe = RECIPE

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        pair = make_pair(self.photos, self.recipe, (self.seed, index))
        severity = np.zeros((_FINEST, _FINEST, 1 + len(FAMILIES)), np.float32)
        severity[..., 0] = cv2.resize(pair.severity, (_FINEST, _FINEST), interpolation=cv2.INTER_AREA)
        for kind, plane in pair.kinds.items():
            of_family = severity[..., 1 + FAMILIES.index(FAMILY[kind])]
            small = cv2.resize(plane, (_FINEST, _FINEST), interpolation=cv2.INTER_AREA)
            np.maximum(of_family, small, out=of_family)
        return {"pixels": pair.damaged, "severity": severity}


def mapper_loss(net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Cross-entropy of each patch's mean severity: proper for a mean, and steep near 0, where mild damage lies."""
    n = int(np.random.default_rng(step).choice(GRIDS))
    pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 255
    target = F.adaptive_avg_pool2d(batch["severity"].permute(0, 3, 1, 2), n).permute(0, 2, 3, 1)
    logits = net(pixels.contiguous(memory_format=torch.channels_last), n).float()
    errors = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((0, 1, 2))
    return errors[0] + CAUSES * errors[1:].sum()


def _start(path: Path) -> Trained:
    net = MapperNet()
    load_weights(net, path, ARCHITECTURE)
    return {"": net}


def mapper_task() -> Task:
    """The embedded mapper's training."""
    return Task(
        title="Embedded mapper",
        architecture=ARCHITECTURE,
        phases=(Phase("", 1, lambda _: MapperNet(), mapper_loss, MapperSamples),),
        whole=lambda trained: trained[""],
        start=_start,
        recipe=RECIPE,
        batch=14,
        rate=2e-3,
        memory=0.999,
        use=USE,
        limits=LIMITS,
    )
