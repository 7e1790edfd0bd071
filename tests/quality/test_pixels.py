"""What OpenCV says of pixels equals what numpy says."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qrefine.quality.pixels import blend, difference, differs, laid_over

SIZES = st.tuples(st.integers(1, 19), st.integers(1, 19))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Two images, equal in places, whole ones or windows of larger ones."""
    (height, width), seed = draw(SIZES), draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 256, (2, height + 2, width + 3, 3), dtype=np.uint8)
    same = rng.random((height + 2, width + 3)) < draw(st.floats(0, 1))
    other[same] = one[same]
    if draw(st.booleans()):
        return one[1:-1, 2:-1], other[1:-1, 2:-1], rng
    return one, other, rng


@settings(deadline=None)
@given(pairs())
def test_differences_are_those_of_the_most_different_channel(
    given_: tuple[np.ndarray, np.ndarray, np.random.Generator],
) -> None:
    one, other, _ = given_
    apart = np.abs(one.astype(int) - other).max(axis=-1)
    assert np.array_equal(difference(one, other), apart)
    assert np.array_equal(differs(one, other), apart > 0)


@settings(deadline=None)
@given(pairs())
def test_one_image_laid_over_another(given_: tuple[np.ndarray, np.ndarray, np.random.Generator]) -> None:
    one, other, rng = given_
    where, before = rng.random(one.shape[:2]) < 0.5, one.copy()
    assert np.array_equal(laid_over(one, other, where), np.where(where[..., None], other, one))
    assert np.array_equal(one, before)


@settings(deadline=None)
@given(pairs(), npst.arrays(np.float32, 4, elements=st.floats(0, 1, width=32)))
def test_a_blend_is_the_weighted_mean_and_exact_at_its_ends(
    given_: tuple[np.ndarray, np.ndarray, np.random.Generator], weights: np.ndarray
) -> None:
    one, other, rng = given_
    weight = rng.choice([*weights, np.float32(0), np.float32(1)], one.shape[:2]).astype(np.float32)
    w = weight[..., None]
    assert np.array_equal(blend(one, other, weight), np.rint(w * other + (1 - w) * one).astype(np.uint8))


@pytest.mark.parametrize("call", [difference, differs])
def test_images_of_unequal_sizes_are_refused(call: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    with pytest.raises(Exception, match=r"[Ss]ize"):
        call(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))
