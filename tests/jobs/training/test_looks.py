"""Undamaged looks by program: every family at several sizes, with and without a photograph, and the two registries."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from training import looks
from training.looks.base import LOOKS, Look, cover, crop, look, nearest, splat

EVERY = sorted(looks.LOOKS)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Smooth colours with noise and an edge, larger than some sizes and smaller than others."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :360]
    plane = 128 + 90 * np.sin(y / 17.0)[..., None] * np.cos(
        x / np.array([11.0, 23.0, 31.0])[:, None, None]
    ).transpose(1, 2, 0)
    return np.clip(plane + (x > 200)[..., None] * 40 + rng.normal(0, 4, (300, 360, 3)), 0, 255).astype(np.uint8)


def made(name: str, photo: np.ndarray | None, size: int, seed: int = 0) -> np.ndarray:
    return looks.LOOKS[name].render(photo, size, np.random.default_rng((zlib.crc32(name.encode()), seed)))


@pytest.mark.parametrize("name", EVERY)
def test_look(name: str, photo: np.ndarray) -> None:
    """Shape, type, something to see, the same from the same generator, another from another."""
    first = made(name, photo, 96)
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.uint8
    assert first.flags.c_contiguous
    assert np.array_equal(first, made(name, photo, 96))
    others = [made(name, photo, 96, seed) for seed in (1, 2)]
    assert not all(np.array_equal(first, other) for other in others)
    assert max(int(np.ptp(image)) for image in (first, *others)) > 20


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [64, 256, 333])
def test_sizes(name: str, size: int, photo: np.ndarray) -> None:
    assert made(name, None if size == 256 else photo, size).shape == (size, size, 3)


def test_a_photograph_matters_where_the_look_says_so(photo: np.ndarray) -> None:
    """Families that say they use a photograph do, in some of their draws; the others never do."""
    for name, family in looks.LOOKS.items():
        same = all(
            np.array_equal(made(name, photo, 64, s), made(name, photo[::-1].copy(), 64, s)) for s in range(8)
        )
        assert same != family.photo, name


def test_the_photograph_is_left_alone(photo: np.ndarray) -> None:
    before = photo.copy()
    for name in EVERY:
        if looks.LOOKS[name].photo:
            made(name, photo, 64)
    assert np.array_equal(photo, before)


def test_registries_are_whole_and_apart() -> None:
    training, held_out = set(looks.training_names()), set(looks.held_out_names())
    assert not training & held_out
    assert training | held_out == set(looks.LOOKS)
    assert len(training) >= 45
    assert len(held_out) >= 14
    assert all(not looks.LOOKS[name].held_out for name in training)
    assert sum(looks.LOOKS[name].marks for name in held_out) >= 4
    assert sum(looks.LOOKS[name].marks for name in training) >= 12
    modules = {looks.LOOKS[name].function.__module__ for name in held_out}
    assert len(modules) >= 8


def test_held_out_names_do_not_change_unnoticed() -> None:
    """A family that moved into training makes figures that were measured with it worthless."""
    assert looks.held_out_names() == HELD_OUT


HELD_OUT = (
    "chalkboard", "childs_drawing", "circuit_board", "colour_film_grain", "constellation_chart",
    "contour_map", "cross_hatching", "dots_by_size", "embroidery", "fireflies", "hair", "halftone_lines",
    "led_wall", "mountains", "nebula", "op_art", "pointillism", "polka_dots", "rain", "screenshot",
    "sheet_music", "thermal", "tilings", "vessels", "voronoi_facets", "voxels", "zoom_burst",
)  # fmt: skip


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="two looks are called snow"):

        @look()
        def snow(photo: np.ndarray | None, size: int, rng: np.random.Generator) -> np.ndarray:
            return np.zeros((size, size, 3), np.uint8)

    assert isinstance(LOOKS["snow"], Look)
    assert LOOKS["snow"].photo


def test_a_wrong_shape_is_told() -> None:
    bad = Look("bad", lambda photo, size, rng: np.zeros((size, size), np.uint8), False, False, False)
    with pytest.raises(ValueError, match="look bad made"):
        bad.render(None, 8, np.random.default_rng(0))


def test_crops_are_never_enlarged() -> None:
    """A picture of single pixels stays one: enlarging would blur it, which is damage."""
    checks = (np.indices((400, 400)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    same = crop(checks, 400, np.random.default_rng(0))
    assert set(np.unique(same)) == {0, 255}
    assert set(np.unique(crop(checks[:200, :200], 256, np.random.default_rng(0)))) == {0, 255}


def test_points_have_places_between_pixels() -> None:
    canvas = np.zeros((21, 21, 3), np.float32)
    splat(canvas, np.array([10.5]), np.array([10.0]), np.array([1.0]), np.full((1, 3), 100.0))
    assert np.allclose(canvas[10], canvas[11])
    assert canvas[10, 10, 0] > canvas[9, 10, 0] > 0
    area = cover(64, np.array([30.3]), np.array([31.7]), np.array([9.0])).sum()
    assert area == pytest.approx(np.pi * 81, rel=0.02)


def test_cells_are_those_of_the_nearest_point() -> None:
    rng = np.random.default_rng(3)
    ys, xs = rng.uniform(0, 50, (2, 40))
    index, first, second = nearest(50, ys, xs)
    y, x = np.mgrid[:50, :50]
    every = np.hypot(y[..., None] - ys, x[..., None] - xs)
    assert (index == every.argmin(-1)).mean() > 0.98
    assert (first <= second).all()
