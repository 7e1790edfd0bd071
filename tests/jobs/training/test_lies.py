from __future__ import annotations

import random

import pytest
import torch

from training import lies, repairs
from training.lies.base import Case, Draw


def _case(size: int = 64) -> Case:
    generator = torch.Generator().manual_seed(0)
    clean = torch.nn.functional.interpolate(
        torch.rand((2, 3, 16, 16), generator=generator), (size, size), mode="bicubic", align_corners=False
    )
    clean = (clean + 0.1 * torch.randn((2, 3, size, size), generator=generator)).clamp(0, 1)
    clean = (clean * 255).round() / 255
    mask = torch.zeros((2, 1, size, size))
    mask[:, :, 16:48, 20:52] = 1
    before = ((clean + 0.05 * torch.randn(clean.shape, generator=generator)).clamp(0, 1) * 255).round() / 255
    return Case(clean, before, clean.flip(0), mask)


def _draw(seed: int) -> Draw:
    return Draw(random.Random(seed), torch.Generator().manual_seed(seed))


ALL = [*lies.LIES, *repairs.REPAIRS]


def _made(name: str, case: Case, seed: int) -> torch.Tensor:
    return (lies.tell if name in lies.LIES else repairs.repair)(name, case, _draw(seed))


@pytest.mark.parametrize("name", ALL)
def test_changes_only_where_the_mask_is_and_gives_levels(name: str) -> None:
    case = _case()
    after = _made(name, case, 1)
    assert after.shape == case.before.shape
    assert torch.isfinite(after).all()
    assert after.min() >= 0
    assert after.max() <= 1
    assert torch.allclose(after * 255, (after * 255).round(), atol=1e-3)
    outside = case.mask.expand_as(after) == 0
    assert torch.equal(after[outside], case.before[outside])


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_makes_the_same_and_something_changes(name: str) -> None:
    case = _case()
    made = [_made(name, case, seed) for seed in (1, 1, 2, 3)]
    assert torch.equal(made[0], made[1])
    assert max(float((after - case.before).abs().max()) for after in made) > 2 / 255


def test_the_truth_is_the_truth() -> None:
    case = _case()
    inside = case.mask.expand_as(case.clean) == 1
    assert torch.equal(_made("truth", case, 0)[inside], case.clean[inside])


def test_there_are_many_and_some_are_held_out() -> None:
    assert len(lies.training_names()) >= 30
    assert len(lies.held_out_names()) >= 8
    assert not set(lies.training_names()) & set(lies.held_out_names())
