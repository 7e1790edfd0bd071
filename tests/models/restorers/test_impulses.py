import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.restorers import impulses
from qrefine.models.restorers.impulses import road, without_impulses
from tests.support import photo
from training.degradations_cv2 import degrade
from training.figures import psnr
from training.looks import LOOKS

WHOLE = np.ones((256, 256), bool)


@pytest.fixture(scope="module")
def scene():
    return photo("astronaut", 256)


def speckled(image, severity, seed=0):
    return degrade(image, "salt_and_pepper", severity, np.random.default_rng(seed))


def test_road_is_the_sum_of_the_four_smallest_differences():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    wide = np.pad(image.astype(int), ((1, 1), (1, 1), (0, 0)), "symmetric")
    near = [wide[y : y + 20, x : x + 30] for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    expected = np.sort(np.abs(np.stack(near) - image), axis=0)[:4].sum(0)
    assert np.array_equal(road(image), expected)


@pytest.mark.parametrize("severity", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_salt_and_pepper_is_filled_in(name, severity):
    clean = photo(name, 256)
    damaged = speckled(clean, severity)
    assert psnr(without_impulses(damaged, WHOLE), clean) > psnr(damaged, clean) + 8


def test_specks_of_one_channel_are_found_too(scene):
    rng, damaged = np.random.default_rng(0), scene.copy()
    draw = rng.random(scene.shape)
    damaged[draw < 0.03], damaged[draw > 0.97] = 0, 255
    assert psnr(without_impulses(damaged, WHOLE), scene) > psnr(damaged, scene) + 12


def test_pixels_outside_the_region_stay(scene):
    region = WHOLE.copy()
    region[:, 100:] = False
    damaged = speckled(scene, 0.7)
    mended = without_impulses(damaged, region)
    assert np.array_equal(mended[~region], damaged[~region])
    assert not np.array_equal(mended[region], damaged[region])


@pytest.mark.parametrize(
    "kind", ["gaussian_noise", "poisson_noise", "colour_noise", "jpeg", "webp", "checkerboard", "posterise"]
)
@pytest.mark.parametrize("severity", [0.3, 0.6, 1.0])
def test_other_damage_is_not_taken_for_impulses(scene, kind, severity):
    damaged = degrade(scene, kind, severity, np.random.default_rng(1))
    assert without_impulses(damaged, WHOLE) is damaged


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_are_left_alone(name):
    image = photo(name, 256)
    assert without_impulses(image, WHOLE) is image


@pytest.mark.parametrize(
    "name", ["stars", "snow", "confetti", "glitter", "ordered_dither", "halftone_dots", "text_page"]
)
def test_marks_that_belong_there_are_left_alone(name, scene):
    look = LOOKS[name]
    for seed in range(3):
        image = look.render(scene if look.photo else None, 256, np.random.default_rng(seed))
        assert without_impulses(image, WHOLE) is image


def test_salt_alone_is_no_noise(scene):
    rng, image = np.random.default_rng(0), scene // 2
    image[rng.random(WHOLE.shape) < 0.02] = 255
    assert without_impulses(image, WHOLE) is image


def test_strips_change_nothing(scene, monkeypatch):
    damaged = speckled(scene, 0.6)
    whole = without_impulses(damaged, WHOLE)
    monkeypatch.setattr(impulses, "_ROWS", 37)
    assert np.array_equal(without_impulses(damaged, WHOLE), whole)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_size_and_region_goes(height, width, seed, share):
    rng = np.random.default_rng(seed)
    image = rng.choice([0, 100, 110, 255], (height, width, 3), p=[0.1, 0.4, 0.4, 0.1]).astype(np.uint8)
    kept, region = image.copy(), rng.random((height, width)) < share
    result = without_impulses(image, region)
    assert np.array_equal(image, kept)
    assert result.shape == image.shape
    assert np.array_equal(result[~region], image[~region])
