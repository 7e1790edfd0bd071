"""What each kind of damage has of its own in the restorer that ships: trained on, or a further kind added.

The weights that all kinds share are frozen, so nothing is forgotten, and an hour or two on a CPU is enough, where
training everything anew takes a GPU. Where a new kind is not the classifier learns to answer as it did before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from qrefine.models.restorers import embedded_net as shipped
from training import tensors
from training.loop import Samples, Schedule, train
from training.restorer import RECIPE, RestorerSettings, RestorerTask
from training.sources import Supply

NEW = shipped.KINDS[-1]
"""The kind that is added: the last of those in the weights file."""

DAMAGE: Mapping[str, float] = {"upsampler": 1.0}
"""Kinds of damage that it stands for, with their weights. What looks much like it does not belong here: the
classifier would take one for the other, and blur would be repaired as what it is not."""

RARE = 4.0
"""Half of the classifier's samples show the new kind. In use it is rarer: its odds are divided by this."""

MEAN = 64
"""Samples over which the classifier's shares are averaged, where the new weights begin."""


def restorer(path: Path) -> shipped.RestorerNet:
    """The restorer in ``path``, with the new kind or yet without. ValueError where it is neither."""
    weights, _ = tensors.load(path)
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    net = shipped.RestorerNet().eval()
    if len(weights.get("teller.head.2.bias", ())) == len(shipped.KINDS):  # one fewer, and "nothing"
        for name, value in weights.items():
            if name.startswith("differences."):
                weights[name] = torch.cat([value, torch.zeros_like(value[:1])])
            elif name.startswith("teller.head.2."):
                unlikely = torch.full_like(value[:1], -6.0) if value.dim() == 1 else torch.zeros_like(value[:1])
                weights[name] = torch.cat([value[:-1], unlikely, value[-1:]])
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: not a restorer of {shipped.ARCHITECTURE}: {str(error).splitlines()[0]}"
        ) from None
    return net


def trunk(net: shipped.RestorerNet, shares: Tensor) -> shipped.UNet:
    """The U-Net that ``net`` is for ``shares`` (kinds + 1,) of the kinds, the share of "nothing" included."""
    whole = shipped.UNet()
    whole.load_state_dict({**net.trunk.state_dict(), **net.mixed(shares)})
    with torch.no_grad():
        for parameter in whole.last.parameters():
            parameter.mul_(1 - shares[-1])
    return whole


OWN_RECIPE = replace(
    RECIPE,
    weights={
        "noise": 5, "jpeg": 2.5, "double_jpeg": 2, "webp": 2, "downsample": 3, "upsampler": 2, "checkerboard": 0.5,
        "gaussian_blur": 1, "motion_blur": 0.5, "defocus_blur": 0.7, "surface": 0.5, "mixture": 1,
    },
    clean=0.06, whole=0.6, second=0.1, mild=0.15,
)  # fmt: skip
"""Less of what is measured before the network runs (blur, grids), more of what it mends least."""

OWN_PERCEPTUAL = 2.0
"""Weight of the perceptual error: most of what these weights can still gain is seen and not measured in dB."""


class OwnTask(RestorerTask):
    """Trains the kinds' own weights of ``init`` on, mixed as its classifier says; all others stay."""

    def __init__(self, supply: Supply, settings: RestorerSettings, init: shipped.RestorerNet) -> None:
        perceptual = OWN_PERCEPTUAL if settings.perceptual else 0
        super().__init__(
            supply, replace(settings, recipe=OWN_RECIPE, noised=0.03, perceptual=perceptual, structure="kinds")
        )
        self._init = init

    def network(self) -> nn.Module:
        net = deepcopy(self._init)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name.startswith("differences."))
        return net


class WeightsTask(RestorerTask):
    """Trains the new kind's own weights on its damage alone, from what ``init`` answers to it so far."""

    def __init__(self, supply: Supply, settings: RestorerSettings, init: shipped.RestorerNet) -> None:
        recipe = replace(RECIPE, weights=DAMAGE, clean=0.03, whole=0.7, second=0.05, mild=0.1)
        super().__init__(supply, replace(settings, recipe=recipe, structure="unet"))
        self.title, self._init = f"restorer, weights for {NEW}", init

    def network(self) -> nn.Module:
        rng, generator = np.random.default_rng(0), torch.Generator(self.sources.bank.device).manual_seed(0)
        net, found = self._init.to(generator.device), list[Tensor]()
        with torch.no_grad():
            while sum(map(len, found)) < MEAN:
                some = self.samples(0, rng, generator)
                found.append(net.shares(some["pixels"], some["strength"]))
        whole = trunk(net, torch.cat(found).mean(0))
        for name, parameter in whole.named_parameters():
            parameter.requires_grad_(shipped.own(name))
        return whole


class ClassifierTask(RestorerTask):
    """Trains the classifier of ``init``: the new kind on its damage, the former answer on all other."""

    def __init__(self, supply: Supply, settings: RestorerSettings, init: shipped.RestorerNet) -> None:
        super().__init__(supply, replace(settings, perceptual=0))
        self.title, self.architecture = f"restorer, classifier with {NEW}", f"{shipped.ARCHITECTURE}, classifier"
        self._before = deepcopy(init).to(supply.device).requires_grad_(False)
        names, chances = RECIPE.chances()
        others = {name: float(chance) for name, chance in zip(names, chances, strict=True) if name not in DAMAGE}
        self._others = replace(RECIPE, weights=others)
        self._new = replace(RECIPE, weights=DAMAGE, clean=0, second=0)

    def network(self) -> nn.Module:
        return deepcopy(self._before.teller).requires_grad_(True)

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """``pixels``, ``strength``, and ``shares`` (b, kinds + 1, 1, 1) that are the answer."""
        other, new = (self.drawn(recipe, rng, generator) for recipe in (self._others, self._new))
        before = self._before.shares(other["pixels"], other["strength"])
        sure = F.one_hot(torch.full((len(new["pixels"]),), len(shipped.KINDS) - 1), before.shape[1]).to(before)
        return {
            "pixels": torch.cat([other["pixels"], new["pixels"]]),
            "strength": torch.cat([other["strength"], new["strength"]]),
            "shares": torch.cat([before, sure])[..., None, None],
        }

    def loss(self, net: nn.Module, samples: Samples, step: int) -> Tensor:
        """Kullback-Leibler divergence from the shares that are asked for."""
        found = net(samples["pixels"], samples["strength"]).float().log_softmax(1)
        return F.kl_div(found, samples["shares"].flatten(1), reduction="batchmean")


def joined(init: shipped.RestorerNet, whole: shipped.UNet, teller: shipped.Teller) -> dict[str, Tensor]:
    """``init`` with the new kind's weights from ``whole`` and another classifier, as a file has it."""
    net = deepcopy(init).cpu()
    net.teller.load_state_dict(teller.state_dict())
    with torch.no_grad():
        net.get_parameter("teller.head.2.bias")[-2] -= math.log(RARE)
        for name, difference in zip(net.names, net.differences, strict=True):
            difference[-1] = whole.get_parameter(name).cpu() - net.trunk.get_parameter(name)
    return {
        name: value.to(RestorerTask.stored) if value.is_floating_point() else value
        for name, value in net.state_dict().items()
    }


def add(
    supply: Supply, settings: RestorerSettings, init: Path, out: Path, schedule: Callable[[float], Schedule]
) -> None:
    """Trains both and writes the restorer to ``out``. ``schedule`` is given the share of the time."""
    before, steps, trained = restorer(init), 0, list[nn.Module]()
    for build, share in ((WeightsTask, 0.8), (ClassifierTask, 0.2)):
        task = build(supply, settings, before)
        try:
            net, state = train(task, schedule(share))
        finally:
            task.close()
        trained.append(net)
        steps += state.step
    whole, teller = trained
    assert isinstance(whole, shipped.UNet)
    assert isinstance(teller, shipped.Teller)
    notes = {"architecture": shipped.ARCHITECTURE, "steps": str(steps)}
    tensors.save(out, joined(before, whole, teller), notes)
