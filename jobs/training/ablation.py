"""Structures of the restorer, trained alike for the same minutes on the same device: which comes farthest?

Sources, damage, loss, schedule and seed are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from training import tensors
from training.damage import FAMILIES
from training.loop import Schedule, train
from training.pack import Pack
from training.perceptual import Features, load, of_images
from training.restorer import RestorerTask
from training.restorer_net import padded
from training.strengths import LQ, MQ
from training.structures import STRUCTURES, Structure

if TYPE_CHECKING:
    from training.figures import Case, Image

SIDE = 256
"""Pixels along a side of the photographs that structures are measured on."""

LOWEST = 0.3
"""The least severity that they are measured on: 1 - B_MQ."""


def ablate(
    names: Sequence[str], out: Path, build: Callable[[str], RestorerTask], schedule: Callable[[], Schedule]
) -> None:
    """Trains ``names`` of ``STRUCTURES`` one after the other; the weights go into folder ``out``."""
    for name in names:
        task = build(name)
        try:
            _, state = train(task, schedule(), out / f"{name}.safetensors")
        finally:
            task.close()
        print(f"{name}: {state.step} steps, {state.crops} crops in {state.seconds:.0f} s", flush=True)


def table(names: Sequence[str], out: Path, pack: Path, each: int = 6, features: Features | None = None) -> str:
    """What ``ablate`` left in ``out``, measured on the pack's photographs kept for checking, as Markdown.

    ``each``: cases of each of 13 kinds of damage. ``features``: of the perceptual distance; None takes the pack's.
    Strengths come from the true map.
    """
    from training import figures  # needs OpenCV, which training does without

    photos = [photo[:SIDE, :SIDE] for photo in Pack(pack).photos("check")]
    cases = list(figures.cases(photos, figures.RESTORED, LOWEST, 1.0, each, 1))
    distance = of_images(features or load(pack))
    heads = ["structure", "weights", "steps", "Mpx/s", "dB", "lowest", "worse by .05 dB", "perceptual"]
    families = tuple(dict.fromkeys(figures.FAMILY[kind] for kind in figures.RESTORED))
    lines = ["| " + " | ".join((*heads, *families)) + " |", "|---" * (len(heads) + len(families)) + "|"]
    for name in names:
        structure = STRUCTURES[name]
        weights, notes = tensors.load(out / f"{name}.safetensors")
        net = structure.build()
        net.load_state_dict({key: value.float() for key, value in weights.items()})
        net.eval()
        found = figures.gains(partial(restored, structure, net), cases)
        kinds, by = figures.gain_by_kind(found), figures.gain_by_family(found)
        nearer = figures.perceptual_by_kind(found, distance)
        worse = np.mean([gain.after < gain.before - 0.05 for gain in found])
        cells = [
            name, f"{sum(p.numel() for p in net.parameters()):,}", notes.get("steps", "?"),
            f"{speed(structure, net):.2f}",
            f"{np.mean(list(kinds.values())):+.2f}", f"{min(kinds.values()):+.2f}", f"{worse:.1%}",
            f"{np.mean(list(nearer.values())):.2f}", *(f"{by[family]:+.2f}" for family in families),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@torch.no_grad()
def restored(structure: Structure, net: nn.Module, case: Case) -> Image:
    """``case`` restored where its map says so, as the inpainter would ask for it."""
    from training.figures import FAMILY
    from training.offers import image_of, tensor

    quality = 1 - case.severity * case.region
    strength = torch.from_numpy(np.clip((MQ - quality) / (MQ - LQ), 0, 1).astype(np.float32))[None, None]
    height, width = case.region.shape
    told = (torch.tensor([FAMILIES.index(FAMILY[case.kind])]),) if structure.told else ()
    found = structure.answer(net, padded(tensor(case.damaged)), padded(strength), *told)
    return image_of(found[:, :, :height, :width])


@torch.no_grad()
def speed(structure: Structure, net: nn.Module, side: int = 512, times: int = 5) -> float:
    """Megapixels per second of one image, the median of ``times``."""
    pixels, strength = torch.rand(1, 3, side, side), torch.ones(1, 1, side, side)
    told, took = (torch.zeros(1, dtype=torch.int64),) if structure.told else (), []
    for _ in range(times + 1):
        began = time.perf_counter()
        structure.answer(net, pixels, strength, *told)
        took.append(time.perf_counter() - began)
    return side * side / 1e6 / float(np.median(took[1:]))
