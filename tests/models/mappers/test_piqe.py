"""PIQE as a map."""

from __future__ import annotations

import numpy as np
import pypiqe
import pytest

from qrefine.models.judges.piqe import piqe_score
from qrefine.models.mappers.piqe import PiqeMapper
from tests.support import noisy, photo

ODD = [(1, 1), (8, 4096), (4096, 8), (17, 31), (15, 15), (16, 16), (33, 200)]


def test_noise_is_seen_in_its_place() -> None:
    clean = photo("coffee", 128)
    damaged = noisy(clean)
    before, after = PiqeMapper(grid=8)([clean, damaged])
    assert after.values[:4, :4].mean() < before.values[:4, :4].mean() - 0.2
    assert after.values[5:, 5:].mean() == pytest.approx(before.values[5:, 5:].mean(), abs=0.05)


def test_the_map_is_the_share_of_undamaged_pixels_in_each_patch() -> None:
    image, n = noisy(photo("rocket", 112)), 5
    _, blocky, grainy, _ = pypiqe.piqe(np.ascontiguousarray(image[..., ::-1]))
    damage = blocky | grainy
    height, width = damage.shape
    expected = [
        [
            1 - damage[i * height // n : (i + 1) * height // n, j * width // n : (j + 1) * width // n].mean()
            for j in range(n)
        ]
        for i in range(n)
    ]
    assert np.allclose(PiqeMapper(grid=n)([image])[0].values, expected, atol=1e-6)


@pytest.mark.parametrize("size", ODD)
@pytest.mark.parametrize("fill", [0, 7, 255, None])
def test_any_image_has_a_map_and_a_score(size: tuple[int, int], fill: int | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    if fill is not None:
        image[:] = fill
    quality = PiqeMapper(grid=16)([image])[0]
    assert quality.n == 16
    assert 0 <= piqe_score(image) <= 100


def test_the_map_of_an_image_does_not_depend_on_the_batch() -> None:
    images = [photo("coffee", 64), noisy(photo("astronaut", 80)), photo("rocket", 48)]
    mapper = PiqeMapper(grid=8)
    assert mapper(images) == [mapper([image])[0] for image in images]


def test_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="no weights"):
        PiqeMapper(weights="x.safetensors")
