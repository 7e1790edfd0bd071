import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.restorers import grids
from qrefine.models.restorers.grids import PERIOD, measured, without_grid
from tests.support import photo
from training.degradations_cv2 import degrade
from training.figures import psnr
from training.looks import LOOKS

WHOLE = np.ones((256, 256), np.float32)


@pytest.fixture(scope="module")
def scene():
    return photo("astronaut", 256)


def gridded(image, period, levels, seed=0):
    rng = np.random.default_rng(seed)
    tile = rng.standard_normal((period, period, 3))
    tile = (tile - tile.mean((0, 1))) / tile.std() * levels
    repeats = (-(-image.shape[0] // period), -(-image.shape[1] // period), 1)
    laid = np.tile(tile, repeats)[: image.shape[0], : image.shape[1]]
    return np.rint(image + laid).clip(0, 255).astype(np.uint8), tile


@pytest.mark.parametrize("period", [2, 4, 8])
@pytest.mark.parametrize("levels", [4, 12, 30])
def test_a_grid_is_taken_away(scene, period, levels):
    damaged, _ = gridded(scene, period, levels)
    assert psnr(without_grid(damaged, WHOLE), scene) > psnr(damaged, scene) + 5


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("severity", [0.3, 0.6, 0.9])
def test_checkerboards_that_follow_the_texture_are_taken_away(name, severity):
    clean = photo(name, 256)
    damaged = degrade(clean, "checkerboard", severity, np.random.default_rng(3))
    assert psnr(without_grid(damaged, WHOLE), clean) > psnr(damaged, clean) + 5


def test_the_pattern_is_measured(scene):
    damaged, tile = gridded(scene, PERIOD, 10)
    grid = measured(damaged, WHOLE)
    assert grid is not None
    assert np.abs(grid.pattern - tile).mean() < 1.0
    assert grid.holds


def test_pixels_of_weight_0_stay(scene):
    weight = WHOLE.copy()
    weight[:, 128:] = 0
    damaged, _ = gridded(scene, 4, 12)
    mended = without_grid(damaged, weight)
    assert np.array_equal(mended[:, 128:], damaged[:, 128:])
    assert psnr(mended[:, :128], scene[:, :128]) > psnr(damaged[:, :128], scene[:, :128]) + 5


@pytest.mark.parametrize(
    "kind", ["gaussian_noise", "poisson_noise", "salt_and_pepper", "jpeg", "webp", "upsampler"]
)
@pytest.mark.parametrize("severity", [0.3, 0.6, 1.0])
def test_other_damage_is_not_taken_for_a_grid(scene, kind, severity):
    damaged = degrade(scene, kind, severity, np.random.default_rng(1))
    assert without_grid(damaged, WHOLE) is damaged


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_are_left_alone(name):
    image = photo(name, 256)
    assert without_grid(image, WHOLE) is image


@pytest.mark.parametrize(
    "name", ["scan_lines", "crt_screen", "ordered_dither", "cross_stitch", "tile_map", "isometric", "stripes"]
)
def test_patterns_that_belong_there_are_left_alone(name, scene):
    look = LOOKS[name]
    for seed in range(3):
        image = look.render(scene if look.photo else None, 256, np.random.default_rng(seed))
        assert without_grid(image, WHOLE) is image


def test_a_grid_in_a_part_of_the_region_alone_stays(scene):
    damaged, _ = gridded(scene, 4, 12)
    damaged[:, 100:] = scene[:, 100:]
    assert without_grid(damaged, WHOLE) is damaged


def test_strips_change_nothing(scene, monkeypatch):
    damaged, _ = gridded(scene, 8, 12)
    whole = without_grid(damaged, WHOLE)
    monkeypatch.setattr(grids, "_ROWS", 40)
    assert np.abs(without_grid(damaged, WHOLE).astype(int) - whole).max() <= 1


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_any_size_and_weight_goes(height, width, seed):
    rng = np.random.default_rng(seed)
    image = gridded(rng.integers(90, 110, (height, width, 3), dtype=np.uint8), 4, 20)[0]
    kept, weight = image.copy(), rng.random((height, width), dtype=np.float32) * (rng.random() < 0.8)
    result = without_grid(image, weight)
    assert np.array_equal(image, kept)
    assert np.array_equal(result[weight == 0], image[weight == 0])
