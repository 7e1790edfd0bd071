"""Triples for the judge: the truth, an image before, and what some restorer made of it. All on the device.

Half of the images are damaged, the others are what they should be. Then a restorer comes, honest or lying, in the
right place or in another. Parameters are shared by small groups, so that a batch costs few calls; what happens is
drawn from a seed of its own. Masks are the judge's own too: it shares nothing with the mapper.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training import damage, lies, repairs
from training.classical import gaussian, levels
from training.lies.base import Case, Draw

Net = Callable[[Tensor, Tensor], Tensor]
"""A restorer: images (b, 3, h, w) and strength (b, 1, h, w) in [0, 1] -> images."""


@dataclass(frozen=True)
class Mix:
    """What triples are drawn from; shares are probabilities. ``net`` falls to the filters where there is none."""

    damaged: float = 0.65
    truth: float = 0.5
    filter: float = 0.11
    net: float = 0.2
    damage: float = 0.05
    half: float = 0.12
    lies: tuple[str, ...] = lies.training_names()


@dataclass(frozen=True)
class Triples:
    """Images (b, 3, h, w) in 8-bit levels. ``kinds``: what the restorer was; ``damages``: "" where undamaged."""

    truth: Tensor
    before: Tensor
    after: Tensor
    kinds: tuple[str, ...]
    damages: tuple[str, ...]


_RADII = ((0.06, 0.15), (0.1, 0.3), (0.2, 0.9), (0.2, 0.9))
"""Of ellipses and rectangles, in halves of the image: down to a cell or two."""


def region(count: int, height: int, width: int, draw: Draw, device: torch.device) -> Tensor:
    """Soft masks (count, 1, height, width): ellipses, rectangles, half planes or blobs, from .3 % to all of it."""

    def uniform(low: float, high: float) -> Tensor:
        chance = torch.rand((count, 1, 1, 1), generator=draw.generator, device=device)
        return low + (high - low) * chance

    y = torch.linspace(-1, 1, height, device=device).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=device).view(1, 1, 1, -1)
    y, x = y - uniform(-0.8, 0.8), x - uniform(-0.8, 0.8)
    low, high = draw.numbers.choice(_RADII)
    ry, rx = uniform(low, high), uniform(low, high)
    shape = draw.numbers.choice(("ellipse", "rectangle", "side", "blob"))
    if shape == "ellipse":
        inside = ((y / ry).square() + (x / rx).square() < 1).float()
    elif shape == "rectangle":
        inside = ((y.abs() < ry) & (x.abs() < rx)).float()
    elif shape == "side":
        angle = uniform(0, 6.2832)
        inside = (y * angle.sin() + x * angle.cos() > 0).float()
    else:
        coarse = torch.randn((count, 1, 7, 7), generator=draw.generator, device=device)
        smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
        inside = (smooth > draw.uniform(-0.2, 0.9)).float()
    fade = draw.uniform(0, 6)
    return gaussian(inside, fade) if fade > 0.5 else inside


def _damaged(images: Tensor, draw: Draw) -> tuple[Tensor, Tensor, str]:
    """Images with damage of one kind, where it is, and the kind."""
    name = draw.numbers.choice(_DAMAGES[draw.numbers.choice(tuple(_DAMAGES))])
    b, _, height, width = images.shape
    low, high = (0.05, 1.0) if draw.uniform(0, 1) < 0.65 else (0.02, 0.45)
    severity = low + (high - low) * torch.rand(b, generator=draw.generator, device=images.device)
    kind = damage.KINDS.get(name) or damage.EXTRA[name]
    changed = kind.apply(images, severity, draw.generator)
    if draw.uniform(0, 1) < 0.3:
        mask = torch.ones_like(images[:, :1])
    else:
        mask = region(b, height, width, draw, images.device)
    return levels(images + mask * (changed - images)), mask, name


def _by_family() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, kind in {**damage.KINDS, **damage.EXTRA}.items():
        found[kind.family] = (*found.get(kind.family, ()), name)
    return found


_DAMAGES = _by_family()


def _where(mask: Tensor, draw: Draw) -> Tensor:
    """Where a restorer changes anything: mostly where the damage is, or wider; else elsewhere or everywhere."""
    b, _, height, width = mask.shape
    choice = draw.uniform(0, 1)
    if choice < 0.2:
        return mask
    if choice < 0.65:
        reach = draw.integer(4, 16)
        wider = F.max_pool2d(mask, 2 * reach + 1, 1, reach)
        return gaussian(wider, reach / 3)
    if choice < 0.8:
        return region(b, height, width, draw, mask.device)
    return torch.ones_like(mask)


def _kind(is_damaged: bool, mix: Mix, nets: Sequence[Net], draw: Draw) -> str:
    """``truth``, ``filter``, ``net``, ``damage`` or ``lie``."""
    chance = draw.uniform(0, 1)
    truth = mix.truth if is_damaged else 0.0
    shares = {"truth": truth, "filter": mix.filter, "net": mix.net, "damage": mix.damage}
    for name, share in shares.items():
        if chance < share:
            return "filter" if name == "net" and not nets else name
        chance -= share
    return "lie"


def _restored(case: Case, is_damaged: bool, mix: Mix, nets: Sequence[Net], draw: Draw) -> tuple[Tensor, str]:
    kind = _kind(is_damaged, mix, nets, draw)
    if kind == "truth":
        name = draw.numbers.choice(("truth", "truth", *repairs.TRUTHS))
        return repairs.repair(name, case, draw), name
    if kind == "filter":
        name = draw.numbers.choice(repairs.FILTERS)
        return repairs.repair(name, case, draw), name
    if kind == "net":
        strength = case.mask * draw.uniform(0.2, 1)
        return levels(draw.numbers.choice(nets)(case.before, strength)), "net"
    if kind == "damage":
        made, _, name = _damaged(case.before, draw)
        return levels(case.before + case.mask * (made - case.before)), name
    name = draw.numbers.choice(mix.lies)
    after = lies.tell(name, case, draw)
    if is_damaged and draw.uniform(0, 1) < mix.half:
        right = region(len(after), after.shape[2], after.shape[3], draw, after.device)
        after = levels(after + right * (case.clean - after))
    return after, name


@torch.no_grad()
def triples(clean: Tensor, mix: Mix, nets: Sequence[Net], seed: int, group: int = 4) -> Triples:
    """Triples of ``clean`` (b, 3, h, w) in 8-bit levels; b above ``group``, which share what is drawn."""
    numbers = random.Random(seed)
    generator = torch.Generator(clean.device).manual_seed(numbers.getrandbits(48))
    draw = Draw(numbers, generator)
    inputs, results, kinds, damages = [], [], [], []
    other = clean.roll(group, 0)
    for start in range(0, len(clean), group):
        images = clean[start : start + group]
        before, mask, name = images, torch.ones_like(images[:, :1]), ""
        is_damaged = numbers.random() < mix.damaged
        if is_damaged:
            before, mask, name = _damaged(images, draw)
            if numbers.random() < 0.12:
                before, second, _ = _damaged(before, draw)
                mask = torch.maximum(mask, second)
            mask = _where(mask, draw)
        elif numbers.random() < 0.6:
            mask = region(len(images), images.shape[2], images.shape[3], draw, images.device)
        case = Case(images, before, other[start : start + group], mask)
        after, kind = _restored(case, is_damaged, mix, nets, draw)
        inputs.append(before)
        results.append(after)
        kinds += [kind] * len(images)
        damages += [name] * len(images)
    return Triples(clean, torch.cat(inputs), torch.cat(results), tuple(kinds), tuple(damages))
