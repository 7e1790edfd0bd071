"""The restorer without weights: a modest floor, but an honest one."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.models.restorers.classical import MOST_NOISE, ClassicalRestorer, noise_level
from qrefine.quality.map import Image, Plane
from tests.support import photo

RESTORE = ClassicalRestorer()


def ones(image: Image, value: float = 1) -> Plane:
    return np.full(image.shape[:2], value, dtype=np.float32)


def run(image: Image, plane: Plane) -> Image:
    return RESTORE([image], [plane], [""], [0])[0]


def with_noise(image: Image, sigma: float) -> Image:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def psnr(a: Image, b: Image) -> float:
    return float(-10 * np.log10(np.mean((a / 255 - b / 255) ** 2)))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("sigma", [10, 25])
def test_noise_becomes_less(name: str, sigma: float) -> None:
    clean = photo(name, 128)
    damaged = with_noise(clean, sigma)
    assert psnr(run(damaged, ones(clean)), clean) > psnr(damaged, clean) + 1


def test_strength_zero_is_exact_and_half_is_half() -> None:
    image = with_noise(photo("coffee", 64), 20)
    plane = ones(image, 0)
    assert np.array_equal(run(image, plane), image)
    plane[:32] = 1
    full, half = run(image, plane), run(image, plane / 2)
    assert np.array_equal(full[32:], image[32:])
    assert not np.array_equal(full[:32], image[:32])
    assert np.abs(half[:32] - (full[:32].astype(float) + image[:32]) / 2).max() <= 1


@pytest.mark.parametrize("sigma", [5, 15, 30])
def test_the_noise_level_is_found_on_a_flat_ground(sigma: float) -> None:
    grey = with_noise(np.full((128, 128, 3), 128, dtype=np.uint8), 0)
    noise = np.random.default_rng(1).normal(0, sigma, (128, 128, 1))  # the same in all channels
    assert noise_level(np.clip(grey + noise, 0, 255).astype(np.uint8)) == pytest.approx(sigma, rel=0.1)
    assert noise_level(grey) == 0


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (8, 8), (300, 9)])
def test_any_size_comes_back_in_its_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = run(image, ones(image))
    assert (found.shape, found.dtype) == (image.shape, np.uint8)


def test_crops_that_are_views_are_read_and_not_written_to() -> None:
    image = with_noise(photo(size=96), 25)
    image.setflags(write=False)
    crop = image[10:70, 20:90]
    assert np.array_equal(run(crop, ones(crop)), run(crop.copy(), ones(crop)))


def test_texture_is_not_taken_for_boundless_noise() -> None:
    image = np.random.default_rng(0).integers(0, 2, (64, 64, 1), dtype=np.uint8).repeat(3, axis=2) * 255
    assert noise_level(image) > MOST_NOISE
    assert run(image, ones(image)).shape == image.shape


def test_an_answer_does_not_depend_on_the_batch() -> None:
    images = [with_noise(photo(name, size), 20) for name, size in (("coffee", 64), ("rocket", 48))]
    planes = [ones(image) for image in images]
    together = RESTORE(images, planes, ["", ""], [0, 1])
    assert all(np.array_equal(a, run(i, p)) for a, i, p in zip(together, images, planes, strict=True))
