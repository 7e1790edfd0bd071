from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.models.tiling import fades, in_tiles, strips, tiles


@given(st.integers(1, 3000), st.integers(112, 500), st.integers(1, 96))
def test_tiles_cover_overlap_and_align(length, size, overlap):
    found = tiles(length, size, overlap, 16)
    assert found[0].start == 0
    assert found[-1].stop == length
    for left, right in pairwise(found):
        assert left.stop - right.start >= overlap
        assert right.start % 16 == 0
        assert right.start > left.start
        assert right.stop > left.stop
    assert all(0 < tile.stop - tile.start <= size for tile in found)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(12, 40))
def test_the_identity_in_tiles_is_the_identity(height, width, size):
    image = np.random.default_rng(0).random((height, width, 2), dtype=np.float32)
    result = in_tiles(lambda rows, columns: image[rows, columns], image.shape, size, 8, 4)
    np.testing.assert_allclose(result, image, rtol=1e-5)


def test_tiles_that_differ_are_faded_into_each_other():
    values = iter(range(100))
    result = in_tiles(
        lambda rows, columns: np.full((rows.stop - rows.start, columns.stop - columns.start, 1), next(values)),
        (10, 100, 1), 40, 16, 4,
    )  # fmt: skip
    assert np.abs(np.diff(result[0, :, 0])).max() <= 1 / 16 + 1e-5
    assert result[0, 0, 0] == 0


def test_tiles_not_asked_for_are_zero():
    result = in_tiles(lambda rows, columns: None, (10, 100, 3), 40, 16, 4)
    assert result.shape == (10, 100, 3)
    assert not result.any()


@given(st.integers(1, 400), st.integers(20, 90), st.integers(1, 19))
def test_fades_add_up_to_one_and_rise_from_inner_borders(length, size, overlap):
    found = tiles(length, size, overlap, 1)
    total = np.zeros(length)
    for tile, ramp in zip(found, fades(found, length, overlap), strict=True):
        total[slice(*tile)] += ramp
        assert ramp[0] <= 0.5 + 1e-6 or tile.start == 0
        assert ramp[-1] <= 0.5 + 1e-6 or tile.stop == length
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize(("size", "overlap", "align"), [(16, 16, 4), (20, 10, 16), (10, -1, 1)])
def test_tilings_that_never_advance_are_refused(size, overlap, align):
    with pytest.raises(ValueError, match="never advance"):
        tiles(100, size, overlap, align)


@given(st.integers(1, 400), st.integers(1, 100), st.integers(0, 20))
def test_strips_answer_for_every_row_once_and_see_their_surroundings(height, size, halo):
    rows = np.arange(height)
    found = strips(height, size, halo)
    assert np.concatenate([rows[strip.rows] for strip in found]).tolist() == rows.tolist()
    for strip in found:
        seen = rows[strip.seen]
        assert seen[strip.within].tolist() == rows[strip.rows].tolist()
        assert seen[0] == max(0, strip.rows.start - halo)
        assert seen[-1] == min(height, strip.rows.stop + halo) - 1
