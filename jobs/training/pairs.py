"""Pairs of a clean crop and its damaged copy with the true severity of every pixel, a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training import codecs
from training.damage import EXTRA, FAMILIES, KINDS, degrade
from training.data import SHARES, Bank, toned
from training.draws import chance, host, normal, uniform
from training.filters import box, gaussian, per_sample, rounded
from training.regions import soft_regions
from training.veils import veiled

MARGIN = 16
"""Damage is done to a crop this much larger, so that codec grids and borders fall anywhere in the final one."""

CELL = 4
"""Pixels along a side of a cell of the families' planes."""

FAINT_NOISE = 0.15
"""Noise all over a crop up to this severity (sigma 4.7) is grain: a look, not damage. From there on it counts."""


@dataclass(frozen=True)
class Recipe:
    """What pairs are drawn from. ``clean``, ``whole``, ``second``, ``mild``, ``finished`` and ``veiled`` are
    shares.

    ``weights``: of families of damage or of kinds. ``sources``: of the bank.
    """

    weights: Mapping[str, float]
    clean: float = 0.25
    whole: float = 0.3
    second: float = 0.2
    mild: float = 0.4
    finished: float = 0.5
    veiled: float = 0.0
    sources: Mapping[str, float] = field(default_factory=lambda: dict(SHARES))

    def chances(self) -> tuple[list[str], np.ndarray]:
        """All kinds and how often each is drawn; a family's weight is spread evenly over its kinds."""
        every = {**KINDS, **EXTRA}
        if unknown := set(self.weights) - set(FAMILIES) - set(every):
            raise ValueError(f"no family or kind of damage is called {', '.join(sorted(unknown))}")
        found: dict[str, float] = {}
        for name, weight in self.weights.items():
            kinds = [name] if name in every else [kind for kind, of in every.items() if of.family == name]
            for kind in kinds:
                found[kind] = found.get(kind, 0) + weight / len(kinds)
        values = np.array(list(found.values()))
        return list(found), values / values.sum()


@dataclass(frozen=True)
class Pairs:
    """``clean`` and ``damaged`` (b, 3, s, s) in [0, 1]; ``severity`` (b, 1, s, s) in [0, 1].

    Severity is 0 where nothing was done, and where it left no trace: a blurred white wall is a white wall.
    ``families`` (b, families, s / 4, s / 4) is the severity of each family of damage. The first ``untouched``
    samples are clean.
    """

    clean: Tensor
    damaged: Tensor
    severity: Tensor
    families: Tensor
    untouched: int


def traced(clean: Tensor, damaged: Tensor) -> Tensor:
    """1 where pixels nearby differ by a grey level or more, fading to 0 where none does; (b, 1, h, w).

    A grey level is the least that a viewer could see in two images held side by side.
    """
    change = (damaged - clean).abs().amax(1, keepdim=True) * 255
    return box(change, 17).clamp_max(1)


def finished(images: Tensor, generator: torch.Generator) -> Tensor:
    """Traces too faint to mind: JPEG of quality 92 or more, noise of a level, many colours, slight sharpening."""
    b = len(images)
    choice = host(generator).integers(4)
    if choice == 0:
        return codecs.jpeg(images, uniform(generator, 92, 99, b), bool(host(generator).random() < 0.7))
    if choice == 1:
        grain = gaussian(normal(generator, b, 1, *images.shape[2:]), uniform(generator, 0.05, 0.8, b))
        grain = grain / (grain.std((1, 2, 3), keepdim=True) + 1e-6) * uniform(generator, 0.3, 2.5, b, 1, 1, 1)
        white = normal(generator, *images.shape) * uniform(generator, 0.3, 1.3, b, 1, 1, 1)
        return rounded(images + torch.where(per_sample(chance(generator, 0.5, b)), grain, white) / 255)
    if choice == 2:
        levels = uniform(generator, 56, 128, b, 1, 1, 1).floor()
        dither = (torch.rand(images.shape, generator=generator, device=images.device) - 0.5) * per_sample(
            chance(generator, 0.5, b).float()
        )
        return rounded((images * levels + dither).round() / levels)
    soft = gaussian(images, uniform(generator, 0.6, 1.2, b))
    return rounded(images + uniform(generator, 0, 0.25, b, 1, 1, 1) * (images - soft))


def make_pairs(
    bank: Bank, recipe: Recipe, count: int, size: int, rng: np.random.Generator, generator: torch.Generator
) -> Pairs:
    """``count`` pairs of ``size`` pixels. ``rng`` chooses on the host, ``generator`` draws on the device."""
    side = size + MARGIN
    clean = toned(bank.crops(count, side, rng, recipe.sources), generator)
    if recipe.veiled:
        clean = veiled(clean, generator, recipe.veiled)
    untouched = round(count * recipe.clean)
    touched = count - untouched
    if some := int(untouched * recipe.finished):
        clean[:some] = finished(clean[:some], generator)
    damaged, severity = clean.clone(), clean.new_zeros(count, 1, side, side)
    families = clean.new_zeros(count, len(FAMILIES), side // CELL, side // CELL)
    names, chances = recipe.chances()
    whole = rng.random(touched) < recipe.whole
    for turn in range(2):
        picks = rng.choice(len(names), touched, p=chances)
        if turn == 0:
            picks.sort()  # of one kind together; crops are in no order
            kinds = [names[pick] for pick in picks]
        else:
            again = ~whole & (rng.random(touched) < recipe.second / max(1e-6, 1 - recipe.whole))
            kinds = [names[pick] if also else "" for pick, also in zip(picks, again, strict=True)]
        _apply(damaged, severity, families, kinds, whole, recipe, untouched, generator)
    trace = traced(clean, damaged)
    top, left = (int(v) * CELL for v in rng.integers(0, MARGIN // CELL + 1, 2))
    shift_y, shift_x = (int(v) for v in rng.integers(0, CELL, 2)) if top < MARGIN and left < MARGIN else (0, 0)
    pixels = (..., slice(top + shift_y, top + shift_y + size), slice(left + shift_x, left + shift_x + size))
    cells = (..., slice(top // CELL, (top + size) // CELL), slice(left // CELL, (left + size) // CELL))
    return Pairs(
        clean[pixels], damaged[pixels], (severity * trace)[pixels],
        (families * F.avg_pool2d(trace, CELL))[cells], untouched,
    )  # fmt: skip


def _apply(
    damaged: Tensor, severity: Tensor, families: Tensor, kinds: list[str], whole: np.ndarray, recipe: Recipe,
    untouched: int, generator: torch.Generator,
) -> None:  # fmt: skip
    """One damage to each sample from ``untouched`` on, "" none, in place."""
    count, device, (height, width) = len(kinds), damaged.device, damaged.shape[-2:]
    every = {**KINDS, **EXTRA}
    level = torch.where(chance(generator, recipe.mild, count), 0.4, 1.0) * uniform(generator, 0.02, 1, count)
    none = np.array([not kind for kind in kinds])
    grain = np.array([bool(kind) and every[kind].family == "noise" for kind in kinds]) & whole
    flags = torch.from_numpy(np.stack([whole, none, grain])).to(device, non_blocking=True)
    before = damaged[untouched:]
    mask = soft_regions(count, height, width, generator)
    mask = torch.where(per_sample(flags[0]), 1.0, mask) * ~per_sample(flags[1])
    changed = degrade(before, kinds, level, generator)
    damaged[untouched:] = rounded(before + mask * (changed - before))
    counted = torch.where(flags[2], ((level - FAINT_NOISE) / (1 - FAINT_NOISE)).clamp_min(0), level)
    plane = per_sample(counted) * mask
    severity[untouched:] = 1 - (1 - severity[untouched:]) * (1 - plane)
    cells = F.avg_pool2d(plane, CELL)
    for number, family in enumerate(FAMILIES):
        of = np.array([bool(kind) and every[kind].family == family for kind in kinds], np.float32)
        if of.any():
            share = per_sample(torch.from_numpy(of).to(device, non_blocking=True))
            families[untouched:, number : number + 1] = torch.maximum(
                families[untouched:, number : number + 1], cells * share
            )
