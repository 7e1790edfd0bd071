"""Guards without a network, against the plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.stages.guards import (
    SPECK,
    VISIBLE,
    cell_max,
    cell_mean,
    cell_pixels,
    check_pair,
    colour_limit,
    colour_moved,
    visible,
)

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIZES, st.integers(0, 999))
def test_cells_hold_the_pixels_that_there_are(size: tuple[int, int], seed: int) -> None:
    plane = np.random.default_rng(seed).random(size)
    means, most = cell_mean(plane, 16), cell_max(plane, 16)
    for i, j in np.ndindex(means.shape):
        part = plane[16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        assert means[i, j] == pytest.approx(part.mean())
        assert most[i, j] == part.max()
    chosen = most > 0.99
    pixels = cell_pixels(chosen, *size, 16)
    assert pixels.shape == size
    assert np.array_equal(cell_max(pixels, 16), chosen)


def test_a_faint_block_is_not_seen_a_stronger_one_and_a_speck_are() -> None:
    before = np.full((20, 20, 3), 100, np.uint8)
    after = before.copy()
    after[0:4, 0:4] += VISIBLE - 1  # a block that moves too little
    after[2, 18] += VISIBLE + 1  # a pixel that moves more, and its block less
    after[16:20, 0:4] += VISIBLE
    after[18, 18] += SPECK
    assert visible(before, after, 16).tolist() == [[False, False], [True, True]]
    assert visible(after, before, 16).tolist() == [[False, False], [True, True]]


def test_the_mean_colour_is_each_channels_own() -> None:
    before = np.full((16, 32, 3), 100, np.uint8)
    after = before.copy()
    after[:, :16, 0] += 20
    after[:, :16, 1] -= 20  # grey stays, colour does not
    after[:, 16:] = np.where(np.arange(16)[:, None, None] % 2, 160, 40)
    assert colour_moved(before, after, 16).tolist() == [[20, 0]]


def test_who_draws_at_full_strength_has_room() -> None:
    strength = np.zeros((16, 48), np.float32)
    strength[3, 20], strength[:, 32:] = 0.5, 1
    assert colour_limit(strength, 16, 16, (1, 3)).tolist() == [[16, 40, 64]]
    assert colour_limit(None, 16, 16, (1, 3)).tolist() == [[16, 16, 16]]


def test_another_size_is_an_error_and_nan_is_told() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert check_pair(image, image)
    assert not check_pair(image, np.full((4, 4, 3), np.nan))
    with pytest.raises(ValueError, match="came back as one of"):
        check_pair(image, image[:2])
