"""The restorer's task: the clean image from the damaged one, where and as far as a strength map asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from training.loop import Samples
from training.pairs import Recipe, make_pairs
from training.perceptual import Features, between, load
from training.sources import Sources, Supply
from training.strengths import estimated_quality, simulated_strength, stage_one
from training.structures import STRUCTURES

RECIPE = Recipe(
    weights={
        "blur": 5.5, "noise": 3, "compression": 4, "resampling": 4.5, "surface": 1.5, "content": 0.3, "mixture": 2,
        "webp": 0.8, "jpeg": 0.5, "downsample": 1, "checkerboard": 0.5, "upsampler": 0.8, "gaussian_blur": 0.5,
    },
    clean=0.1, whole=0.6, second=0.15, mild=0.2,
    sources={"photos": 0.62, "looks": 0.2, "art": 0.1, "scenes": 0.08},
)  # fmt: skip
"""Mostly what can be undone; little of what cannot (patches swapped, shapes bent)."""

FREQUENCIES = 0.05
"""Weight of the error of the spectrum, beside that of the pixels."""

PERCEPTUAL = 0.2
"""Weight of the perceptual error at full strength. At low strengths it counts less: there, faithful is what is
asked."""

FLOOR = 0.01
"""Added to a sample's mean error before the division, in [0, 1] of white."""

SMOOTH = 1 / 255
"""Errors below this count by their square."""

SEEN = 0.02
"""Added to a sample's perceptual distance before the division."""


@dataclass(frozen=True)
class RestorerSettings:
    """``batch_size`` crops of one of ``sizes`` a step. ``noised``: the share that went through stage 1.

    ``structure``: one of ``STRUCTURES``.
    """

    batch_size: int = 16
    sizes: Sequence[int] = (128,)
    recipe: Recipe = field(default_factory=lambda: RECIPE)
    noised: float = 0.05
    perceptual: float = PERCEPTUAL
    structure: str = "nafnet"


class RestorerTask:
    """Training of one of ``STRUCTURES``."""

    stored = torch.float16

    def __init__(self, supply: Supply, settings: RestorerSettings = RestorerSettings()) -> None:
        self.settings, self.sources = settings, Sources(supply)
        self.structure = STRUCTURES[settings.structure]
        self.title, self.architecture = f"restorer, {settings.structure}", self.structure.architecture
        self.features: Features | None = None
        if settings.perceptual > 0:
            self.features = load(supply.pack).to(supply.device)

    def network(self) -> nn.Module:
        return self.structure.build()

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """``pixels`` to restore, ``clean`` ones (b, 3, s, s), ``strength`` (b, 1, s, s);
        ``families`` (b, f, 1, 1), how much there is of each family of damage."""
        return self.drawn(self.settings.recipe, rng, generator)

    def drawn(self, recipe: Recipe, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """``samples`` of another recipe than the settings'."""
        self.sources.refill()
        size = int(rng.choice(self.settings.sizes))
        count = max(1, round(self.settings.batch_size * (min(self.settings.sizes) / size) ** 2))
        pairs = make_pairs(self.sources.bank, recipe, count, size, rng, generator)
        quality = estimated_quality(pairs.severity, generator)
        noised = round(count * self.settings.noised)
        pixels = pairs.damaged
        if noised:
            pixels[-noised:] = stage_one(pixels[-noised:], quality[-noised:], generator)
        return {
            "pixels": pixels, "clean": pairs.clean, "strength": simulated_strength(quality, generator),
            "families": pairs.families.mean((2, 3), keepdim=True),
        }  # fmt: skip

    def loss(self, net: nn.Module, samples: Samples, step: int) -> Tensor:
        pixels, clean, strength = samples["pixels"], samples["clean"], samples["strength"]
        told = (samples["families"].flatten(1).argmax(1),) if self.structure.told else ()
        restored = self.structure.answer(
            net, pixels.contiguous(memory_format=torch.channels_last), strength, *told
        )
        restored = restored.float()
        with torch.autocast(pixels.device.type, enabled=False):
            loss = fidelity(restored, pixels, clean, strength)
        if self.features is not None:
            loss = loss + self.settings.perceptual * perceptual(self.features, restored, pixels, clean, strength)
        return loss.mean()

    def notes(self) -> str:
        return self.sources.notes()

    def close(self) -> None:
        self.sources.close()


def fidelity(restored: Tensor, pixels: Tensor, clean: Tensor, strength: Tensor) -> Tensor:
    """Error that is left over error that there was, per sample (b,): pixels (Charbonnier's) and spectrum.

    The ratio brings mild damage near the weight of strong noise, which is all that a plain L1 would see; the
    floor under it keeps almost clean samples from drowning the rest. The spectrum keeps texture, which an error
    of pixels alone averages away. Where nothing was wrong any change is an error.
    """
    asked = (strength > 0).float()
    left, wrong = (restored - clean) * asked, (pixels - clean) * asked
    share = asked.mean((1, 2, 3)) + 1e-3
    was = wrong.abs().mean((1, 2, 3)) / share
    by_pixel = ((left.square() + SMOOTH**2).sqrt() - SMOOTH).mean((1, 2, 3))
    by_frequency = torch.view_as_real(torch.fft.rfft2(left, norm="ortho")).abs().mean((1, 2, 3, 4))
    return (by_pixel + FREQUENCIES * by_frequency) / (share * (was + FLOOR))


def perceptual(features: Features, restored: Tensor, pixels: Tensor, clean: Tensor, strength: Tensor) -> Tensor:
    """Perceptual distance that is left over what there was, per sample (b,), weighted by the mean strength."""
    with torch.no_grad():
        truth = features.unit(clean)
        was = between(features.unit(pixels), truth).map.mean((1, 2, 3))
    left = between(features.unit(restored), truth).map.mean((1, 2, 3))
    return strength.mean((1, 2, 3)) * left / (was + SEEN)
