"""The judge's task: is after nearer the undamaged truth than before? Triples in, one logit per cell of 16 px out.

The loss is a cross-entropy by cell, weighted by the size of the change; harm weighs more, since one harmful
acceptance in a hundred is all that is allowed. Two more answers, the distances of before and of after from the
truth, help the features along. Mixes of sources, seeds and masks are the judge's own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrefine.models.judges.comparator_net import ARCHITECTURE, ComparatorNet
from training import lies, looks
from training.candidates import Mix, Triples, triples
from training.data import Bank, toned
from training.labels import Labels, label
from training.loop import Samples
from training.pack import Pack
from training.perceptual import Features, load
from training.render import LookBank
from training.snapshots import Snapshots
from training.sources import LOOK_SIZE, Sources, Supply
from training.veils import veiled

SIZE = 192
"""Pixels along a side of a crop: a cell sees 5 to 11 cells around it."""

SEED = 14_000_003
"""Added to the run's seed, so that no sample is the mapper's."""

SHARES: Mapping[str, float] = {"photos": 0.4, "looks": 0.42, "art": 0.1, "scenes": 0.08}
"""Sources of the clean images. Variety of looks is what limits."""

VEILED = 0.15
"""Share of the clean images that have a regular texture all over: a look, and no generator's grid."""

HARM = 2.5
"""Weight of cells that became worse, relative to those that became better."""

AUXILIARY = 0.1
"""Weight of the squared errors of the two log distances."""

MIX = Mix()
OWN = replace(MIX, damaged=0.52, truth=0.16, filter=0.08, net=0.7, damage=0.02)
"""Mostly the restorers' own answers, to damage and to what is undamaged: what a run asks a judge about."""

HELD_OUT = replace(MIX, damaged=0.45, net=0.25, lies=lies.held_out_names())
"""Of validation: lies that training never tells."""


def loss(net: nn.Module, samples: Samples) -> Tensor:
    """Weighted cross-entropy of the first answer, and errors of the other two.

    A triple counts by the root of the area that changed: by the area itself, small repairs are not learned.
    """
    answers = net(samples["before"], samples["after"]).float()
    labels = Labels(*(samples[name] for name in Labels._fields))
    each = F.binary_cross_entropy_with_logits(answers[:, :1], labels.better, reduction="none")
    area = labels.weight.sum((1, 2, 3), keepdim=True) + 1
    weight = labels.weight * (1 + (HARM - 1) * (1 - labels.better)) / area.sqrt()
    total = weight.sum() + 1e-3
    judged = (weight * each).sum() / total
    targets = torch.cat([labels.apart_before, labels.apart_after], 1) * 0.5
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
    """Triples with held-out lies and looks. ``restorers``: how many networks were among the restorers."""

    samples: Sequence[tuple[Triples, Labels]]
    restorers: int = 0

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


@dataclass(frozen=True)
class JudgeSettings:
    """``batch_size`` crops of ``size`` px. ``own``: share of batches of the mix OWN, where restorers are known.
    ``validate``: seconds between two validations, of ``batches`` each."""

    batch_size: int = 128
    size: int = SIZE
    mix: Mix = MIX
    own: float = 0.4
    validate: float = 60.0
    batches: int = 4


class JudgeTask:
    """Training of ``ComparatorNet``."""

    title, architecture, stored = "judge", ARCHITECTURE, torch.float16

    def __init__(
        self, supply: Supply, settings: JudgeSettings = JudgeSettings(), restorers: Sequence[Path] = (),
        features: Features | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.sources = settings, Sources(replace(supply, seed=supply.seed + SEED))
        self.snapshots = Snapshots(tuple(restorers), supply.device, exact=supply.device == "cpu")
        self.features = (features or load(supply.pack)).to(supply.device)
        self._net: nn.Module | None = None
        self._validation: Validation | None = None
        self._every = settings.validate * (1 if supply.device.startswith("cuda") else 10)
        self._validated = time.monotonic()
        self._held_out = _held_out_bank(supply)

    def network(self) -> nn.Module:
        return ComparatorNet()

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """``before`` and ``after`` (b, 3, s, s); the four planes of ``Labels``, (b, 1, s / 16, s / 16)."""
        self.sources.refill()
        self.snapshots.refresh()
        own = np.random.default_rng((SEED, int(rng.integers(2**62))))
        sample, labels = self.batch(self.sources.bank, own, self.mix(own))
        return {"before": sample.before, "after": sample.after, **labels._asdict()}

    def mix(self, rng: np.random.Generator) -> Mix:
        """What the next triples are drawn from."""
        return OWN if len(self.snapshots) and rng.random() < self.settings.own else self.settings.mix

    def batch(self, bank: Bank, rng: np.random.Generator, mix: Mix) -> tuple[Triples, Labels]:
        """Triples and their labels, a function of ``rng``, the bank and the restorers."""
        count = self.settings.batch_size
        clean = bank.crops(count, self.settings.size, rng, SHARES)
        clean = clean[torch.from_numpy(rng.permutation(count)).to(clean.device)]
        generator = torch.Generator(clean.device).manual_seed(int(rng.integers(2**62)))
        clean = veiled(toned(clean, generator, 0.3), generator, VEILED)
        nets = [net for net in (self.snapshots.pick(rng) for _ in range(3)) if net is not None]
        group = 5 if count >= 256 else 4 if count >= 64 else 2  # samples that share what is drawn
        sample = triples(clean, mix, nets, int(rng.integers(2**62)), group)
        return sample, label(self.features, sample.truth, sample.before, sample.after)

    def loss(self, net: nn.Module, samples: Samples, step: int) -> Tensor:
        self._net = net
        return loss(net, samples)

    def notes(self) -> str:
        """Looks, restorers, and now and then the line of validation."""
        line, now = "", time.monotonic()
        if self._net is not None and now - self._validated > self._every:
            line = "  " + self.validation().line(self._net)
            self._validated = time.monotonic()
        return f"{self.sources.notes()}, {len(self.snapshots)} restorers{line}"

    @torch.no_grad()
    def validation(self) -> Validation:
        """Triples that training does not see, made when first asked for and again when restorers have come."""
        known = len(self.snapshots)
        if self._validation is None or (known and not self._validation.restorers):
            if self._held_out.looks is not None:
                self._held_out.bank.add_looks(self._held_out.looks.take())
            batches = [
                self.batch(self._held_out.bank, np.random.default_rng((SEED, 1, i)), HELD_OUT)
                for i in range(self.settings.batches)
            ]
            self._validation = Validation(batches, known)
        return self._validation

    def close(self) -> None:
        self.sources.close()
        if self._held_out.looks is not None:
            self._held_out.looks.close()


@dataclass
class _HeldOut:
    bank: Bank
    looks: LookBank | None


def _held_out_bank(supply: Supply) -> _HeldOut:
    """Photographs and kinds of looks that training does not see."""
    photos = Pack(supply.pack).photos("check")
    bank = Bank(torch.device(supply.device), {"photos": photos}, 96, LOOK_SIZE)
    if not supply.processes:
        return _HeldOut(bank, None)
    return _HeldOut(bank, LookBank(photos, looks.held_out_names(), LOOK_SIZE, 96, 1, supply.seed + SEED))
