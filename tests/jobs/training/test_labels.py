from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.classical import gaussian, levels, opened
from training.labels import Labels, label
from training.perceptual import Features, load

SIZE = 64


@pytest.fixture(scope="module")
def features() -> Features:
    return load(None)


def _truth() -> Tensor:
    """Stripes, a disc and texture in colour."""
    generator = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    stripes = 0.5 + 0.3 * torch.sin(2 * math.pi * x / 9)
    disc = ((x - 36) ** 2 + (y - 30) ** 2 < 200).float() * 0.3
    texture = torch.randn((1, 3, SIZE, SIZE), generator=generator) * 0.03
    colour = torch.tensor([1.0, 0.8, 0.5]).view(1, 3, 1, 1)
    return levels((stripes + disc)[None, None] * colour + texture)


def _noisy(images: Tensor, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return levels(images + sigma / 255 * torch.randn(images.shape, generator=generator))


def _share_better(labels: Labels) -> float:
    assert labels.weight.sum() > 0
    return float((labels.better * labels.weight).sum() / labels.weight.sum())


@pytest.mark.parametrize("damage", ["noise", "blur", "black"])
def test_the_truth_is_better_at_any_severity(features: Features, damage: str) -> None:
    truth = _truth()
    before = {"noise": _noisy(truth, 50), "blur": levels(gaussian(truth, 3)), "black": torch.zeros_like(truth)}
    assert _share_better(label(features, truth, before[damage], truth)) == 1


def test_any_visible_change_of_what_was_undamaged_is_worse(features: Features) -> None:
    truth = _truth()
    for after in (gaussian(truth, 0.6), truth + 4 / 255, truth.roll(1, 3), 1 - truth):
        assert _share_better(label(features, truth, truth, levels(after))) == 0


def test_what_nobody_sees_has_no_weight(features: Features) -> None:
    truth = _truth()
    before = levels(gaussian(truth, 2))
    assert label(features, truth, before, before).weight.sum() == 0
    assert label(features, truth, before, levels(before + 1 / 255)).weight.sum() == 0
    assert label(features, truth, before, levels(before + 3 / 255)).weight.min() > 0


def test_the_weight_is_where_the_change_is(features: Features) -> None:
    truth = _truth()
    after = truth.clone()
    after[..., :16, :16] = 0
    weight = label(features, truth, truth, after).weight[0, 0]
    assert weight[0, 0] > 0
    assert weight.sum() == weight[0, 0]


@pytest.mark.parametrize("lie", ["negative", "hue", "flat", "moved", "upside down"])
def test_lies_about_damage_are_worse(features: Features, lie: str) -> None:
    truth = _truth()
    before = _noisy(truth, 15)
    after = {
        "negative": 1 - before, "hue": before.roll(1, 1),
        "flat": before.mean((2, 3), keepdim=True).expand_as(before),
        "moved": before.roll(4, 3), "upside down": before.flip(2, 3),
    }[lie]  # fmt: skip
    assert _share_better(label(features, truth, before, levels(after))) < 0.15


def test_half_of_the_way_is_better_and_the_other_way_is_worse(features: Features) -> None:
    truth = _truth()
    before = levels(gaussian(truth, 2))
    assert _share_better(label(features, truth, before, levels((truth + before) / 2))) > 0.9
    assert _share_better(label(features, truth, before, levels(1.5 * before - truth / 2))) < 0.1


def test_erased_stars_are_worse_though_the_noise_went_too(features: Features) -> None:
    truth = torch.full((1, 3, SIZE, SIZE), 0.08)
    truth[..., 8::16, 8::16] = truth[..., 9::16, 8::16] = truth[..., 8::16, 9::16] = 0.95
    before = _noisy(levels(truth), 6)
    assert _share_better(label(features, levels(truth), before, levels(opened(gaussian(before, 0.5), 2)))) < 0.1


def test_drawn_detail_passes_where_nothing_was_left_and_not_where_colour_moved(features: Features) -> None:
    """Texture of which before has nothing: another draw of it has the same look. PSNR alone says it is
    worse, and so, by half, do random features; the colour says it with certainty."""
    generator = torch.Generator().manual_seed(5)

    def drawn() -> Tensor:
        noise = torch.randn((1, 3, SIZE, SIZE), generator=generator)
        return levels(0.5 + 0.15 * (noise - gaussian(noise, 1)))

    truth, other = drawn(), drawn()
    before = torch.full_like(truth, 0.5)
    assert (other - truth).square().mean() > (before - truth).square().mean()
    assert _share_better(label(features, truth, before, other)) > 0.25
    assert _share_better(label(features, truth, before, levels(other + 0.1))) < 0.1


def test_an_answer_does_not_depend_on_the_batch(features: Features) -> None:
    truth = torch.cat([_truth(), _truth().flip(3)])
    before, after = _noisy(truth, 20), levels(gaussian(_noisy(truth, 20), 1))
    both, one = label(features, truth, before, after), label(features, truth[1:], before[1:], after[1:])
    assert torch.allclose(both.better[1:], one.better, atol=1e-3)
