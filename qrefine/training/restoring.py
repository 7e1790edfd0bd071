"""The restorer's task: the clean image from the damaged one, where and as far as a strength map asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from qrefine.models.restorers.embedded_net import ARCHITECTURE, KINDS, TRUNK_ALONE, RestorerNet, Teller, UNet, own
from qrefine.models.weights import architecture_of, load_weights
from qrefine.quality.map import Image, Plane
from qrefine.training.degradations import FAMILY
from qrefine.training.job import Phase, Task, Trained
from qrefine.training.loop import Batch
from qrefine.training.pairs import Recipe, make_pair
from qrefine.training.regions import soft_region

RECIPE = Recipe(
    size=128, scenes=0.15, clean=0.1, whole=0.6, second=0.15, mild=0.25,
    weights=(
        ("blur", 5), ("noise", 5), ("compression", 4), ("resampling", 4), ("surface", 2), ("content", 0.8),
        ("mixture", 2.5),
    ),
)  # fmt: skip
"""Of the trunk. Mostly what can be undone; little of what cannot (patches swapped, shapes bent)."""

DAMAGE: Mapping[str, tuple[str, ...]] = {
    "noise": ("noise",), "blur": ("blur",), "compression": ("compression",), "shrinking": ("downsample",),
    "grid": ("upsampler", "checkerboard"), "surface": ("surface",), "mixture": ("mixture",),
}  # fmt: skip
"""Families, or single kinds, of damage that each of ``KINDS`` stands for."""

SHARES = {
    "noise": 0.1, "blur": 0.07, "compression": 0.07, "shrinking": 0.06, "grid": 0.05, "surface": 0.05,
    "mixture": 0.05,
}  # fmt: skip
"""Of the run, for each kind's own weights; the trunk and the teller take the rest. Noise has the most to give."""

FROM = {"shrinking": "blur"}
"""Kinds that start from another's weights. From the trunk's, which leave soft images soft, shrinking learned to
smooth the steps of nearest neighbours and nothing else (+0.07 dB); from blur's it came hardly
further (+0.09 dB)."""

ALONE = replace(RECIPE, size=96, scenes=0.05, clean=0, whole=0.9, second=0, mild=0)
"""Of one kind's own weights. Without clean crops, and with no more mild damage than chance brings: in such crops
any correction is wrong, and with a third of them the network learned to correct nothing but noise (JPEG: 0.00 dB
after 300 steps, 0.55 dB without). Whether a region needs it is the map's to say."""

TOLD = replace(
    RECIPE, size=128, clean=0.15, whole=0.75, second=0, mild=0.2,
    weights=(
        ("noise", 4), ("blur", 4), ("compression", 4.5), ("downsample", 3), ("upsampler", 1.5),
        ("checkerboard", 1.5), ("surface", 3), ("mixture", 4), ("content", 2),
    ),
)  # fmt: skip
"""Of who tells the kinds: one damage to a crop, and clean ones."""

MIXED = replace(
    RECIPE, size=128, scenes=0.1, clean=0.05, whole=0.75, second=0.1, mild=0,
    weights=(
        ("blur", 6), ("noise", 3), ("compression", 5), ("downsample", 4), ("upsampler", 1.5),
        ("checkerboard", 1), ("surface", 2), ("mixture", 2.5), ("content", 0.5),
    ),
)  # fmt: skip
"""Of all together: more of what is hard to mend."""

LQ, MQ, HQ = 0.4, 0.7, 0.8
"""The default bounds: between them the pipelines ramp the strength up."""

FREQUENCIES = 0.05
"""Weight of the error of the spectrum, beside that of the pixels."""

FLOOR = 0.01
"""Added to a sample's mean error before the division, in [0, 1] of white."""

SMOOTH = 1 / 255
"""Errors below this count by their square."""

USE = """The inpainter and blind enhancer that `qrefine` uses where no other is configured: a residual U-Net
led by a per-pixel strength map. Input: RGB and strength; output: RGB, unchanged where the strength is 0. It
removes blur, noise, compression and resampling artifacts; it follows no prompt and invents no content."""

LIMITS = """Content that is wrong (patches swapped, shapes bent, extra fingers) it cannot mend: that takes a
generative model. Strong blur and strong shrinking lose detail that it does not bring back. It was trained on
photographs and simple scenes, and on damage made by program; on line art and on text it errs towards leaving
things as they are."""


def estimated_quality(severity: Plane, rng: np.random.Generator) -> Plane:
    """1 - severity as a mapper would tell it: patch means on a coarse grid, with errors, flattened again."""
    size = severity.shape[0]
    n = int(rng.integers(2, 9))
    grid = 1 - cv2.resize(severity, (n, n), interpolation=cv2.INTER_AREA)
    grid = grid + rng.normal(0, 0.07) + rng.normal(0, 0.05, grid.shape)
    plane = cv2.resize(np.clip(grid, 0, 1).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(plane, 0, 1)


def simulated_strength(quality: Plane, rng: np.random.Generator) -> Plane:
    """Strengths as the inpainter gets them, as the enhancer does, or a level of a user's choice.

    Never 0 everywhere: such a sample would teach nothing.
    """
    choice = rng.random()
    if choice < 0.5:
        plane = np.clip((MQ - quality) / (MQ - LQ), 0, 1)
    elif choice < 0.75:
        plane = 0.5 * np.clip((HQ - quality) / (HQ - LQ), 0, 1)
    else:
        plane = np.full_like(quality, rng.uniform(0.05, 1))
    if plane.max() < 0.05:
        plane = soft_region(quality.shape[0], quality.shape[1], rng) * np.float32(rng.uniform(0.1, 1))
    return plane.astype(np.float32)


def stage_one(image: Image, quality: Plane, rng: np.random.Generator) -> Image:
    """I1 = W G + (1 - W) I, W = max(B_LQ - Q, 0) (Q-Refine, equation 3): what the inpainter gets in mode paper."""
    weight = np.maximum(LQ - quality, 0)[..., None]
    noise = np.clip(0.5 + 0.25 * rng.standard_normal(image.shape, dtype=np.float32), 0, 1)
    return np.rint(weight * noise * 255 + (1 - weight) * image).astype(np.uint8)


@dataclass(frozen=True)
class RestorerSamples(Dataset[dict[str, np.ndarray]]):
    """Sample i: ``pixels`` to restore and ``clean`` ones, (size, size, 3) uint8; ``strength`` (size, size)."""

    photos: Sequence[Image]
    seed: int
    recipe: Recipe = RECIPE
    noised: float = 0.1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        pair = make_pair(self.photos, self.recipe, (self.seed, index))
        rng = np.random.default_rng((self.seed, index, 1))
        quality = estimated_quality(pair.severity, rng)
        pixels = stage_one(pair.damaged, quality, rng) if rng.random() < self.noised else pair.damaged
        return {"pixels": pixels, "clean": pair.clean, "strength": simulated_strength(quality, rng)}


@dataclass(frozen=True)
class TellerSamples(Dataset[dict[str, np.ndarray]]):
    """Sample i: ``pixels`` (size, size, 3) uint8; ``strength`` (size, size); ``kind`` (1, 1), its place."""

    photos: Sequence[Image]
    seed: int
    recipe: Recipe = TOLD

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        pair = make_pair(self.photos, self.recipe, (self.seed, index))
        rng = np.random.default_rng((self.seed, index, 1))
        strength = simulated_strength(estimated_quality(pair.severity, rng), rng)
        kinds = [place for place, kind in enumerate(KINDS) for damage in pair.kinds if _is(damage, kind)]
        kind = np.full((1, 1), kinds[0] if kinds else len(KINDS))
        return {"pixels": pair.damaged, "strength": strength, "kind": kind}


def _is(damage: str, kind: str) -> bool:
    return damage in DAMAGE[kind] or FAMILY[damage] in DAMAGE[kind]


def told_loss(net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Cross-entropy of the kinds."""
    pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 255
    logits = net(pixels.contiguous(memory_format=torch.channels_last), batch["strength"][:, None])
    return F.cross_entropy(logits.float(), batch["kind"].flatten())


def restorer_loss(net: nn.Module, batch: Batch, step: int) -> Tensor:
    """Error that is left over error that there was, per sample: pixels (Charbonnier's) and spectrum.

    The ratio brings mild damage near the weight of strong noise, which is all that a plain L1 would see; the
    floor under it keeps almost clean samples from drowning the rest. The spectrum keeps texture, which an error
    of pixels alone averages away.
    """
    pixels, clean = (batch[name].permute(0, 3, 1, 2).float() / 255 for name in ("pixels", "clean"))
    strength = batch["strength"][:, None]
    restored = net(pixels.contiguous(memory_format=torch.channels_last), strength).float()
    asked = (strength > 0).float()
    left, wrong = (restored - clean) * asked, (pixels - clean) * asked
    share = asked.mean((1, 2, 3)) + 1e-3
    was = wrong.abs().mean((1, 2, 3)) / share
    by_pixel = ((left.square() + SMOOTH**2).sqrt() - SMOOTH).mean((1, 2, 3))
    by_frequency = torch.view_as_real(torch.fft.rfft2(left, norm="ortho")).abs().mean((1, 2, 3, 4))
    return ((by_pixel + FREQUENCIES * by_frequency) / (share * (was + FLOOR))).mean()


def _start(path: Path) -> Trained:
    """The networks of all phases, from a restorer's weights; those of version 1 are a trunk alone."""
    if architecture_of(path) == TRUNK_ALONE:
        trunk = UNet()
        load_weights(trunk, path, TRUNK_ALONE)
        return {"trunk": trunk}
    whole = RestorerNet()
    load_weights(whole, path, ARCHITECTURE)
    kinds = {kind: whole.alone(kind) for kind in KINDS}
    return {"trunk": whole.trunk, **kinds, "teller": whole.teller, "together": Together(whole)}


def _of_kind(start: str, trained: Trained) -> nn.Module:
    """A copy of what the phase ``start`` made, of which only what is a kind's own learns."""
    net = deepcopy(trained[start])
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(own(name))
    return net


class Together(nn.Module):
    """The whole restorer on a batch of crops, each restored by what the teller says of it.

    So the teller learns what mends, not what a kind is called: where two kinds look alike it may mix their
    weights, and these learn to be mixed.
    """

    def __init__(self, net: RestorerNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor, strength: Tensor) -> Tensor:
        shares = self.net.shares(pixels, strength)
        crops = zip(pixels.split(1), strength.split(1), shares, strict=True)
        return torch.cat([self.net(crop, asked, share) for crop, asked, share in crops])


def _together(trained: Trained) -> Together:
    trunk, teller = deepcopy(trained["trunk"]), deepcopy(trained["teller"])
    assert isinstance(trunk, UNet)
    assert isinstance(teller, Teller)
    net = RestorerNet(trunk, teller)
    for kind in KINDS:
        learned = trained[kind]
        assert isinstance(learned, UNet)
        net.learned(kind, learned)
    return Together(net)


def _whole(trained: Trained) -> nn.Module:
    together = trained["together"]
    assert isinstance(together, Together)
    return together.net


def _phase(kind: str) -> Phase:
    recipe = replace(ALONE, weights=tuple((name, 1.0) for name in DAMAGE[kind]))
    samples = partial(RestorerSamples, recipe=recipe, noised=0.2 if kind in ("noise", "mixture") else 0)
    return Phase(kind, SHARES[kind], partial(_of_kind, FROM.get(kind, "trunk")), restorer_loss, samples, 2)


def restorer_task() -> Task:
    """The embedded restorer's training: the trunk on everything, each kind's own weights, the teller, then all."""
    return Task(
        title="Embedded restorer",
        architecture=ARCHITECTURE,
        phases=(
            Phase("trunk", 0.2, lambda _: UNet(), restorer_loss, RestorerSamples),
            *(_phase(kind) for kind in KINDS),
            Phase("teller", 0.1, lambda _: Teller(), told_loss, TellerSamples),
            Phase("together", 0.25, _together, restorer_loss, partial(RestorerSamples, recipe=MIXED), 0.5),
        ),
        whole=_whole,
        start=_start,
        recipe=RECIPE,
        batch=8,
        rate=1.5e-3,
        memory=0.99,
        use=USE,
        limits=LIMITS,
        stored=torch.float16,
    )
