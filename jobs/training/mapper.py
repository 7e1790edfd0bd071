"""The mapper's task: the severity of every patch, as a probability, and of each family of damage."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrefine.models.mappers.embedded_net import ARCHITECTURE, FAMILIES, MapperNet
from training import damage
from training.filters import box
from training.loop import Samples, filled
from training.pairs import CELL, Recipe, make_pairs
from training.snapshots import Snapshots
from training.sources import Sources, Supply
from training.strengths import estimated_quality, simulated_strength

assert FAMILIES == damage.FAMILIES

RECIPE = Recipe(
    weights={
        "blur": 4, "noise": 3, "compression": 5, "resampling": 7, "surface": 6, "content": 6, "mixture": 2.5,
    },
    clean=0.45, whole=0.3, second=0.15, mild=0.4, veiled=0.03,
    sources={"photos": 0.4, "looks": 0.38, "art": 0.16, "scenes": 0.06},
)  # fmt: skip
"""Mostly regions, for the map must tell damaged patches from their neighbours; more of what is hard to see. And
whole undamaged pictures, for an alarm over art is the worst mistake."""

PATCHES = (64, 48, 32, 32, 24, 16)
"""Pixels along a side of a patch, by chance: most often 32, as in an image of 512."""

CAUSES = 0.3
"""Weight of the seven families' severities together, beside the severity of all damage."""

ALARM = 1.57
"""Weight of seeing damage where there is none: e ** .45, for an alarm over art is worse than a mild miss."""

ORDER = 0.5
"""Weight of the order of an image's patches (``disorder``)."""

APART = 0.04
"""Severities that differ by less are not compared."""

SMEARED = 12.0
"""Grey levels of change, pixels and gradients together, that ruin a clean picture."""


@dataclass(frozen=True)
class MapperSettings:
    """``batch_size`` crops of the least of ``sizes``; fewer of larger ones. ``restored``: the share of restored
    crops."""

    batch_size: int = 16
    sizes: Sequence[int] = (192,)
    recipe: Recipe = field(default_factory=lambda: RECIPE)
    restored: float = 0.1


class MapperTask:
    """Training of ``MapperNet``."""

    title, architecture, stored = "mapper", ARCHITECTURE, torch.float32

    def __init__(
        self, supply: Supply, settings: MapperSettings = MapperSettings(), restorers: Sequence[Path] = ()
    ) -> None:
        self.settings, self.sources = settings, Sources(supply)
        self.snapshots = Snapshots(tuple(restorers), supply.device, exact=supply.device == "cpu")

    def network(self) -> nn.Module:
        return MapperNet()

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """``pixels`` (b, 3, s, s); ``target`` (b, 1 + families, n, n), the mean severities of n x n patches."""
        self.sources.refill()
        self.snapshots.refresh()
        size = int(rng.choice(self.settings.sizes))
        count = max(1, round(self.settings.batch_size * (min(self.settings.sizes) / size) ** 2))
        n = max(2, round(size / int(rng.choice(PATCHES))))
        pairs = make_pairs(self.sources.bank, self.settings.recipe, count, size, rng, generator)
        pixels, severity, families = pairs.damaged, pairs.severity, pairs.families
        restore = self.snapshots.pick(rng)
        if restore is not None and count > 1:
            # clean crops lie before ``untouched``, damaged ones behind it: take some of both
            some = max(1, round(count * self.settings.restored))
            first = max(0, min(pairs.untouched - some // 3, count - some))
            of = slice(first, first + some)
            strength = simulated_strength(estimated_quality(severity[of], generator), generator)
            mended = restore(pixels[of], strength)
            left = damage_left(pairs.clean[of], pixels[of], mended, severity[of])
            share = F.avg_pool2d(left / severity[of].clamp_min(1e-3), CELL).clamp_max(1)
            pixels[of], severity[of], families[of] = mended, left, families[of] * share
        target = torch.cat([F.adaptive_avg_pool2d(severity, n), F.adaptive_avg_pool2d(families, n)], 1)
        return {"pixels": pixels, "target": target}

    def loss(self, net: nn.Module, samples: Samples, step: int) -> Tensor:
        """Cross-entropy of each patch's mean severity: proper for a mean, steep near 0, where mild damage is, and
        leaning to the undamaged (``ALARM``).

        And the order of patches within an image, or the differences between pictures would outweigh those within
        one, where a viewer sees damage.
        """
        target = samples["target"].permute(0, 2, 3, 1)
        logits = self.answer(net, samples, target.shape[1]).float()
        scale = torch.tensor(1 / ALARM, device=logits.device)
        errors = ALARM * F.binary_cross_entropy_with_logits(logits, target, reduction="none", pos_weight=scale)
        errors = errors.mean((0, 1, 2))
        return errors[0] + CAUSES * errors[1:].sum() + ORDER * disorder(logits[..., 0], target[..., 0])

    def answer(self, net: nn.Module, samples: Samples, n: int) -> Tensor:
        """Logits (b, n, n, 1 + families)."""
        return net(samples["pixels"].contiguous(memory_format=torch.channels_last), n)

    def notes(self) -> str:
        return f"{self.sources.notes()}, {len(self.snapshots)} restorers"

    def close(self) -> None:
        self.sources.close()


class HeadTask(MapperTask):
    """Trains the head alone, on the patches that the trunk of ``init`` sees: made once and served often."""

    def __init__(self, supply: Supply, settings: MapperSettings, restorers: Sequence[Path], init: Path) -> None:
        self._whole = MapperNet()
        filled(self._whole, init, ARCHITECTURE)  # before processes are started, which an error would leave behind
        super().__init__(supply, settings, restorers)
        self._whole.eval().requires_grad_(False).to(supply.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    def network(self) -> nn.Module:
        """The whole network, so that its file is a mapper's."""
        net = deepcopy(self._whole)
        net.head.requires_grad_(True)
        return net

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """``patches`` (b, c, n, n) instead of pixels."""
        made = super().samples(step, rng, generator)
        patches = self._whole.patches(made["pixels"], made["target"].shape[-1])
        return {"patches": patches.permute(0, 3, 1, 2), "target": made["target"]}

    def answer(self, net: nn.Module, samples: Samples, n: int) -> Tensor:
        assert isinstance(net, MapperNet)
        return net.head(samples["patches"].permute(0, 2, 3, 1))


def disorder(logits: Tensor, target: Tensor) -> Tensor:
    """How wrongly logits (b, n, n) order the patches of an image by their severity ``target``: the mean over the
    images of the mean logistic loss of pairs (RankNet; Burges et al., 2005). 0 where all patches are alike."""
    logits, target = logits.flatten(1), target.flatten(1)
    worse = (target[:, :, None] - target[:, None] > APART).float()
    loss = F.softplus(logits[:, None] - logits[:, :, None]) * worse
    return (loss.sum((1, 2)) / worse.sum((1, 2)).clamp_min(1)).mean()


def unlikeness(a: Tensor, b: Tensor, size: int = 17) -> Tensor:
    """How far two images are apart around each pixel, (b, 1, h, w) in grey levels: pixels and gradients."""
    change = (a - b) * 255
    slopes = F.pad(change.diff(dim=3).abs(), (0, 1)) + F.pad(change.diff(dim=2).abs(), (0, 0, 0, 1))
    return box((change.abs() + 0.5 * slopes).mean(1, keepdim=True), size)


def damage_left(clean: Tensor, damaged: Tensor, mended: Tensor, severity: Tensor) -> Tensor:
    """The severity of what a restorer leaves, (b, 1, h, w) in [0, 1].

    The damage there was, times the share that is left; and where more is wrong than was before (a clean picture
    smeared), as much as ``SMEARED`` grey levels stand for.
    """
    was, now = unlikeness(damaged, clean), unlikeness(mended, clean)
    left = severity * (now / (was + 0.25)).clamp(0, 1.2)
    harm = ((now - was - 0.75) / SMEARED).clamp(0, 1)
    return torch.maximum(left, harm).clamp(0, 1)
