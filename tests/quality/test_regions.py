"""Regions: flattening, masks and strengths, and which pixels belong to which patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qrefine.config import Bounds
from qrefine.quality.map import QualityMap
from qrefine.quality.regions import (
    coarse,
    edges,
    flatten,
    fractions,
    mask,
    patch_any,
    patch_count,
    patch_pixels,
    strength,
)

UNIT = st.floats(0, 1, width=32)
SIDES = st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.just(n)))
MAPS = npst.arrays(np.float32, SIDES, elements=UNIT).map(QualityMap)
SIZE = st.integers(1, 70)
EXTREME = [(1, 1), (4096, 8), (8, 4096), (3, 5), (16, 16), (17, 31)]


def cubic(values: np.ndarray, size: int) -> np.ndarray:
    """Keys' cubic convolution (a = -0.5) over 4 neighbours along the first axis, borders repeated."""
    n = len(values)
    position = (np.arange(size) + 0.5) * n / size - 0.5
    start = np.floor(position).astype(int)
    out = np.zeros((size, *values.shape[1:]))
    for k in range(-1, 3):
        d = np.abs(position - (start + k))
        near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        weight = np.where(d <= 1, near, np.where(d < 2, far, 0))
        out += weight.reshape(-1, *[1] * (values.ndim - 1)) * values[np.clip(start + k, 0, n - 1)]
    return out


@settings(deadline=None)
@given(MAPS, SIZE, SIZE)
def test_a_flattened_map_has_the_images_size_and_stays_in_range(quality: QualityMap, h: int, w: int) -> None:
    plane = flatten(quality, h, w)
    assert (plane.shape, plane.dtype) == ((h, w), np.float32)
    assert plane.min() >= 0
    assert plane.max() <= 1


@settings(deadline=None)
@given(UNIT, st.integers(1, 20), SIZE, SIZE)
def test_a_constant_map_stays_what_it_is(value: float, n: int, h: int, w: int) -> None:
    plane = flatten(QualityMap(np.full((n, n), value)), h, w)
    assert np.abs(plane - np.float32(value)).max() <= 1e-6


@pytest.mark.parametrize("bound", [0.4, 0.7, 0.8])
@pytest.mark.parametrize("n", [1, 7, 8, 16])
@pytest.mark.parametrize("size", EXTREME)
def test_a_map_that_lies_on_the_bound_is_masked_nowhere(bound: float, n: int, size: tuple[int, int]) -> None:
    plane = flatten(QualityMap(np.full((n, n), bound)), *size)
    assert not mask(plane, bound).any()
    assert not strength(plane, bound / 2, bound).any()


def test_flattening_is_bicubic_over_sixteen_neighbours() -> None:
    values = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    height, width = 64, 97
    plane = flatten(QualityMap(values), height, width)
    expected = np.clip(cubic(cubic(values, height).T, width).T, 0, 1)
    inside = np.s_[2 * height // 8 : -2 * height // 8, 2 * width // 8 : -2 * width // 8]
    assert np.abs(plane - expected)[inside].max() < 1e-5
    by_torch = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], (height, width), mode="bicubic", antialias=True
    )[0, 0].clamp(0, 1)
    assert np.abs(plane - by_torch.numpy()).max() < 1e-5


def test_flattening_keeps_left_left_and_top_top() -> None:
    values = np.zeros((4, 4), dtype=np.float32)
    values[0, 3] = 1
    plane = flatten(QualityMap(values), 40, 80)
    assert np.unravel_index(plane.argmax(), plane.shape)[0] < 10
    assert np.unravel_index(plane.argmax(), plane.shape)[1] >= 60


@given(npst.arrays(np.float32, (4, 5), elements=UNIT), UNIT)
def test_the_mask_is_one_where_quality_is_below_the_bound(plane: np.ndarray, bound: float) -> None:
    found = mask(plane, bound)
    assert found.dtype == np.float32
    assert np.array_equal(found, [[float(q < np.float32(bound)) for q in row] for row in plane])


@given(npst.arrays(np.float32, (4, 5), elements=UNIT), UNIT, UNIT, st.floats(0.125, 1, width=32))
def test_strength_is_zero_for_good_pixels_and_most_for_the_worst(
    plane: np.ndarray, a: float, b: float, most: float
) -> None:
    low, high = sorted((a, b))
    found = strength(plane, low, high, most)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= np.float32(most) * 1.000001
    assert (found[plane >= high] == 0).all()
    assert np.allclose(found[(plane <= low) & (plane < high)], most)
    order = plane.ravel().argsort()
    assert (np.diff(found.ravel()[order]) <= 0).all()  # never rises with quality


def test_strength_falls_in_a_straight_line_between_the_bounds() -> None:
    plane = np.array([[0.3, 0.4, 0.55, 0.7, 0.8]], dtype=np.float32)
    assert np.allclose(strength(plane, 0.4, 0.7, 0.5), [[0.5, 0.5, 0.25, 0, 0]], atol=1e-6)


@given(MAPS, UNIT, UNIT, UNIT)
def test_fractions_are_shares_of_the_area(quality: QualityMap, a: float, b: float, c: float) -> None:
    lq, mq, hq = sorted((a, b, c))
    low, middle, high = fractions(quality, Bounds(lq=lq, mq=mq, hq=hq))
    assert min(low, middle, high) >= 0
    assert low + middle + high == pytest.approx(1, abs=1e-12)
    cells = quality.values.size
    assert low == pytest.approx((quality.values < np.float32(lq)).sum() / cells)
    assert high == pytest.approx((quality.values >= np.float32(mq)).sum() / cells)


@pytest.mark.parametrize(("n", "size"), [(16, (1024, 700)), (64, (3072, 1100)), (167, (8000, 130))])
def test_one_poor_patch_is_found_again_in_a_map_of_any_n(n: int, size: tuple[int, int]) -> None:
    values = np.ones((n, n), np.float32)
    values[n // 2, n - 1] = 0
    quality = QualityMap(values)
    poor = mask(flatten(quality, *size), 0.5) > 0
    touched = patch_any(poor, n)
    assert touched[n // 2, n - 1]
    assert touched.sum() <= 4  # interpolation spreads by half a patch at most
    assert fractions(quality, Bounds())[0] == pytest.approx(1 / n**2)
    worst = coarse(quality, 24).values
    assert worst.shape == (min(n, 24),) * 2
    assert np.argwhere(worst == 0).tolist() == [[min(n, 24) // 2, min(n, 24) - 1]]


# Patches and pixels


@pytest.mark.parametrize(
    ("height", "width", "grid", "patch", "n"),
    [
        (1024, 1024, 16, 64, 16),
        (1, 1, 16, 64, 16),
        (1025, 300, 16, 64, 22),
        (300, 3072, 16, 64, 64),
        (8000, 8000, 16, 64, 167),
        (3072, 3072, 64, 64, 64),
        (4097, 3072, 64, 64, 86),
        (3072, 3072, 16, None, 16),
        (3072, 3072, 16, 256, 16),
        (100_000, 10, 16, 64, 256),
        (40, 40, 16, 8, 16),
    ],
)
def test_n_grows_with_the_longest_side(height: int, width: int, grid: int, patch: int | None, n: int) -> None:
    assert patch_count(height, width, grid, patch) == n


@given(st.integers(1, 12_000), st.integers(1, 12_000), st.integers(1, 128), st.integers(64, 512))
def test_patches_are_never_larger_than_asked(height: int, width: int, grid: int, patch: int) -> None:
    n = patch_count(height, width, grid, patch)
    assert n >= grid
    assert max(height, width) / n <= patch
    larger = patch_count(height + 100, width + 100, grid, patch)
    assert larger >= n  # a larger image never has fewer


def pixels_of(i: int, size: int, n: int) -> range:
    """The pixels of patch i by equation (1), rounded down; one where the patch is narrower than a pixel."""
    start, end = i * size // n, (i + 1) * size // n
    return range(start, max(end, start + 1))


@given(st.integers(1, 5000), st.integers(1, 128))
def test_edges_go_from_end_to_end(size: int, n: int) -> None:
    found = edges(size, n)
    assert found.tolist() == [i * size // n for i in range(n + 1)]
    assert (found[0], found[-1]) == (0, size)


@settings(deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 24), st.integers(1, 24))
def test_patch_any_is_true_where_one_of_its_pixels_is(data: st.DataObject, n: int, h: int, w: int) -> None:
    pixels = data.draw(npst.arrays(np.bool_, (h, w)))
    expected = [
        [any(pixels[y, x] for y in pixels_of(i, h, n) for x in pixels_of(j, w, n)) for j in range(n)]
        for i in range(n)
    ]
    assert np.array_equal(patch_any(pixels, n), expected)


@settings(deadline=None)
@given(st.data(), st.integers(1, 9), st.integers(1, 24), st.integers(1, 24))
def test_patch_pixels_are_exactly_the_pixels_that_patch_any_looks_at(
    data: st.DataObject, n: int, h: int, w: int
) -> None:
    patches = data.draw(npst.arrays(np.bool_, (n, n)))
    expected = np.zeros((h, w), dtype=bool)
    for i, j in np.argwhere(patches):
        rows, columns = pixels_of(i, h, n), pixels_of(j, w, n)
        expected[rows.start : rows.stop, columns.start : columns.stop] = True
    assert np.array_equal(patch_pixels(patches, h, w), expected)


@pytest.mark.parametrize("n", [1, 8, 16, 128])
@pytest.mark.parametrize("size", EXTREME)
def test_patches_cover_every_pixel_of_any_shape(size: tuple[int, int], n: int) -> None:
    assert patch_pixels(np.ones((n, n), dtype=bool), *size).all()
    assert not patch_pixels(np.zeros((n, n), dtype=bool), *size).any()
    last = np.zeros(size, dtype=bool)
    last[-1, -1] = True
    assert patch_any(last, n)[-1, -1]
