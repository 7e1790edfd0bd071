"""The judge's task: is after nearer the undamaged truth than before? Triples in, one logit per cell of 16 px out.

The loss is a cross-entropy by cell, weighted by the size of the change; harm weighs more, since one harmful
acceptance in a hundred is all that is allowed. Two more answers, the distances of before and of after from the
truth, help the features along. Mixes of sources, seeds and masks are the judge's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import lies
from training.candidates import Mix, Net, Triples, triples
from training.data import Bank, toned
from training.labels import Labels, label
from training.perceptual import Features

SIZE = 192
"""Pixels along a side of a crop: a cell sees 5 to 11 cells around it."""

SEED = 14_000_003
"""Added to the run's seed, so that no sample is the mapper's."""

SHARES: Mapping[str, float] = {"photos": 0.4, "looks": 0.42, "art": 0.1, "scenes": 0.08}
"""Sources of the clean images. Variety of looks is what limits."""

HARM = 2.5
"""Weight of cells that became worse, relative to those that became better."""

AUXILIARY = 0.1
"""Weight of the squared errors of the two log distances."""

MIX = Mix()
HELD_OUT = replace(MIX, damaged=0.45, net=0.25, lies=lies.held_out_names())
"""Of validation: lies that training never tells."""


def loss(net: nn.Module, sample: Triples, labels: Labels) -> Tensor:
    """Weighted cross-entropy of the first answer, and squared errors of the other two."""
    answers = net(sample.before, sample.after).float()
    each = F.binary_cross_entropy_with_logits(answers[:, :1], labels.better, reduction="none")
    weight = labels.weight * (1 + (HARM - 1) * (1 - labels.better))
    total = weight.sum() + 1e-3
    judged = (weight * each).sum() / total
    targets = torch.cat([labels.before, labels.after], 1) * 0.5
    apart = F.smooth_l1_loss(answers[:, 1:], targets, reduction="none").mean(1, keepdim=True)
    return judged + AUXILIARY * (weight * apart).sum() / total


@dataclass(frozen=True)
class Point:
    """Where harm is held to ``risk`` of the harmful cells: the threshold, and the share of good cells kept."""

    risk: float
    threshold: float
    kept: float


def operating_point(scores: Tensor, better: Tensor, risk: float) -> Point:
    """Of cells (n,): the least threshold at which at most ``risk`` of those that became worse pass."""
    worse, good = scores[better < 0.3], scores[better > 0.7]
    if not len(worse) or not len(good):
        return Point(risk, float("nan"), float("nan"))
    threshold = float(torch.quantile(worse[:: max(1, len(worse) // 500_000)], 1 - risk))
    return Point(risk, threshold, float((good > threshold).float().mean()))


@dataclass(frozen=True)
class Validation:
    """Triples with held-out lies and looks, made once."""

    samples: Sequence[tuple[Triples, Labels]]

    @torch.no_grad()
    def line(self, net: nn.Module) -> str:
        """A line for the log: good cells kept at 1 % and 5 % harm, and harm by group at the 1 % threshold."""
        training = net.training
        net.eval()
        scores, better, groups = [], [], []
        for sample, labels in self.samples:
            device = sample.before.device.type
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                logits = net(sample.before, sample.after)[:, 0].float()
            seen = labels.weight[:, 0] > 0.3
            scores.append(logits[seen])
            better.append(labels.better[:, 0][seen])
            group = torch.tensor([_group(d, k) for d, k in zip(sample.damages, sample.kinds, strict=True)])
            groups.append(group.to(logits.device)[:, None, None].expand_as(seen)[seen])
        net.train(training)
        score, good, of = torch.cat(scores), torch.cat(better), torch.cat(groups)
        one, five = operating_point(score, good, 0.01), operating_point(score, good, 0.05)
        harms = []
        for number, name in enumerate(GROUPS):
            worse = (of == number) & (good < 0.3)
            if worse.any():
                share = (score[worse] > one.threshold).float().mean()
                harms.append(f"{name} {float(share):.3f}")
        return f"kept {one.kept:.2f} / {five.kept:.2f} at harm .01 / .05; of it by group: {', '.join(harms)}"


GROUPS = ("lies on damage", "lies on undamaged", "restorers on damage", "restorers on undamaged")


def _group(damage: str, kind: str) -> int:
    return (0 if kind in lies.LIES else 2) + (0 if damage else 1)


@dataclass
class JudgeTask:
    """What a training loop needs: a batch's loss for a step, and a line of validation."""

    bank: Bank
    features: Features
    nets: Callable[[], Sequence[Net]]
    seed: int = 0
    batch_size: int = 128
    mix: Mix = MIX

    def batch(self, step: int, mix: Mix | None = None, seed: int = SEED) -> tuple[Triples, Labels]:
        """Triples and labels, a function of the seed, the step and what the bank holds."""
        rng = np.random.default_rng((seed, self.seed, step))
        clean = self.bank.crops(self.batch_size, SIZE, rng, SHARES)
        clean = clean[torch.from_numpy(rng.permutation(len(clean))).to(clean.device)]
        generator = torch.Generator(clean.device).manual_seed(int(rng.integers(2**62)))
        clean = toned(clean, generator, 0.3)
        group = max(2, self.batch_size // 24)
        sample = triples(clean, mix or self.mix, self.nets(), int(rng.integers(2**62)), group)
        return sample, label(self.features, sample.truth, sample.before, sample.after)

    def loss(self, net: nn.Module, step: int) -> Tensor:
        return loss(net, *self.batch(step))

    def validation(self, batches: int) -> Validation:
        """From this task's bank, which should hold photographs and looks that training does not see."""
        return Validation([self.batch(i, HELD_OUT, SEED + 1) for i in range(batches)])
