"""Structures of the restorer that can be trained: one network for all damage, or weights by its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from qrefine.models.restorers import embedded_net as shipped
from training import restorer_net


class Structure(NamedTuple):
    """``answer``: net, pixels (b, 3, h, w), strength (b, 1, h, w) -> restored pixels. ``told``: it takes the
    family of each image (b,), a number in ``FAMILIES``, besides."""

    architecture: str
    build: Callable[[], nn.Module]
    answer: Callable[..., Tensor]
    told: bool = False


def plain(net: nn.Module, pixels: Tensor, strength: Tensor) -> Tensor:
    """The answer of a network that takes nothing else."""
    return net(pixels, strength)


def mixed(net: nn.Module, pixels: Tensor, strength: Tensor, shares: Tensor) -> Tensor:
    """What ``shipped.RestorerNet`` answers to each image with weights of its own, by ``shares`` (b, kinds + 1)."""
    assert isinstance(net, shipped.RestorerNet)
    values = dict(net.trunk.named_parameters())
    own = {
        name: values[name] + torch.tensordot(shares[:, :-1], difference, 1)
        for name, difference in zip(net.names, net.differences, strict=True)
    }
    common = {name: value for name, value in values.items() if name not in own}

    def one(own: Mapping[str, Tensor], pixels: Tensor, strength: Tensor) -> Tensor:
        return functional_call(net.trunk, {**common, **own}, (pixels[None], strength[None]))[0]

    restored = torch.vmap(one)(own, pixels, strength)
    return pixels + (1 - shares[:, -1, None, None, None]) * (restored - pixels)


def guessed(net: nn.Module, pixels: Tensor, strength: Tensor) -> Tensor:
    """By the shares that the network's own classifier gives each image."""
    assert isinstance(net, shipped.RestorerNet)
    return mixed(net, pixels, strength, net.shares(pixels, strength))


def told(net: nn.Module, pixels: Tensor, strength: Tensor, family: Tensor) -> Tensor:
    """By the true family of each image alone: each family has the weights of the kind of its number."""
    return mixed(net, pixels, strength, F.one_hot(family, len(shipped.KINDS) + 1).float())


def _with_classifier() -> nn.Module:
    return shipped.RestorerNet().eval()  # the classifier's batch norm: a batch's own statistics are too rough


def _without_classifier() -> nn.Module:
    net = shipped.RestorerNet()
    del net.teller
    return net


STRUCTURES: Mapping[str, Structure] = {
    "nafnet": Structure(restorer_net.ARCHITECTURE, restorer_net.RestorerNet, plain),
    "unet": Structure(f"{shipped.ARCHITECTURE}, trunk", shipped.UNet, plain),
    "kinds": Structure(shipped.ARCHITECTURE, _with_classifier, guessed),
    "told": Structure(f"{shipped.ARCHITECTURE}, told families", _without_classifier, told, told=True),
}
"""``kinds`` is what ships: the U-Net with weights for each kind of damage, mixed as a classifier guesses it, all
trained together. ``told`` is told the family instead, an upper bound of what kinds can bring."""
