"""Veils lie evenly over a whole picture."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.veils import DEPTH, veil, veiled


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 6))
def test_a_veil_repeats_itself_over_the_whole_picture(seed: int, count: int) -> None:
    pattern = veil(count, 96, 144, torch.Generator().manual_seed(seed))
    assert pattern.shape == (count, 3, 96, 144)
    assert 0 <= float(pattern.min()) <= float(pattern.max()) <= 1
    for image in pattern:
        again = [p for p in range(2, 81) if torch.allclose(image[:, :, p:], image[:, :, :-p], atol=1e-5)]
        assert again
        assert any(torch.allclose(image[:, p:], image[:, :-p], atol=1e-5) for p in range(2, 81))


def test_a_share_of_the_images_is_veiled_and_no_deeper_than_said() -> None:
    flat = torch.full((400, 3, 24, 24), 200 / 255)
    made = veiled(flat, torch.Generator().manual_seed(0), 0.3)
    changed = (made != flat).flatten(1).any(1)
    assert 0.2 < float(changed.float().mean()) < 0.4
    assert torch.equal(made * 255, (made * 255).round())
    assert float((made - flat).abs().max()) < 2.2 * DEPTH[1]
    assert float((made - flat)[changed].abs().amax((1, 2, 3)).min()) > 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_same_seed_gives_the_same_veils(share: float) -> None:
    images = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    first, second = (veiled(images, torch.Generator().manual_seed(5), share) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, images) == (share == 0)
