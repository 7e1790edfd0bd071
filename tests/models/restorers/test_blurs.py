import math

import cv2
import numpy as np
import pytest

from qrefine.models.restorers import blurs
from qrefine.models.restorers.blurs import LATTICE, WINDOW, lattice, measured
from tests.support import disc, line, photo
from training.degradations_cv2 import degrade
from training.looks import LOOKS

WHOLE = np.ones((384, 384), np.float32)
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")


@pytest.fixture(scope="module")
def scene():
    return photo("astronaut", 384)


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("sigma", [1.2, 2.0, 3.0])
def test_a_gaussian_is_measured(name, sigma):
    blur = measured(cv2.GaussianBlur(photo(name, 384), (0, 0), sigma), WHOLE)
    assert blur is not None
    assert blur.kernel.shape == "gaussian"
    assert blur.kernel.size == pytest.approx(sigma, rel=0.2)
    assert blur.holds


@pytest.mark.parametrize("radius", [2.0, 3.3, 5.0])
def test_a_disc_is_measured(scene, radius):
    blur = measured(cv2.filter2D(scene, -1, disc(radius)), WHOLE)
    assert blur is not None
    assert (blur.kernel.shape, blur.holds) == ("disc", True)
    assert blur.kernel.size == pytest.approx(radius, rel=0.06)


@pytest.mark.parametrize("name", PHOTOS[:3])
@pytest.mark.parametrize(("length", "angle"), [(5, 0.3), (8, 0.7), (10, 1.9), (12, 1.2), (14, 2.6)])
def test_a_line_is_measured(name, length, angle):
    blur = measured(cv2.filter2D(photo(name, 384), -1, line(length, angle)), WHOLE)
    assert blur is not None
    assert (blur.kernel.shape, blur.holds) == ("line", True)
    assert blur.kernel.size == pytest.approx(length, rel=0.1)
    assert abs(math.sin(blur.kernel.angle - angle)) < 0.1


def test_only_where_it_is_asked_for(scene):
    half = scene.copy()
    half[:, :192] = cv2.filter2D(scene, -1, disc(3.0))[:, :192]
    weight = WHOLE.copy()
    weight[:, 192:] = 0
    blur = measured(half, weight)
    assert blur is not None
    assert blur.holds
    assert blur.kernel.size == pytest.approx(3.0, rel=0.06)
    sharp = measured(half, 1 - weight)
    assert sharp is None or not sharp.holds


@pytest.mark.parametrize("name", PHOTOS)
def test_photographs_are_not_blurred(name):
    blur = measured(photo(name, 384), WHOLE)
    assert blur is None or not blur.holds


@pytest.mark.parametrize(
    "kind",
    [
        "gaussian_noise", "poisson_noise", "colour_noise", "salt_and_pepper", "jpeg", "webp", "double_jpeg",
        "downsample", "upsampler", "checkerboard", "over_smooth", "ringing",
    ],
)  # fmt: skip
@pytest.mark.parametrize("severity", [0.3, 0.6, 0.95])
def test_other_damage_is_not_taken_for_blur(scene, kind, severity):
    blur = measured(degrade(scene, kind, severity, np.random.default_rng(1)), WHOLE)
    assert blur is None or not blur.holds


@pytest.mark.parametrize(
    "name", ["bokeh_background", "haze", "tilt_shift", "film_grain", "water_colour", "gradients", "halftone_dots"]
)
def test_looks_are_not_blurred(name, scene):
    look = LOOKS[name]
    for seed in range(3):
        image = look.render(scene if look.photo else None, 384, np.random.default_rng(seed))
        blur = measured(image, WHOLE)
        assert blur is None or not blur.holds


@pytest.mark.parametrize("factor", [1.5, 2.0, 2.7, 4.0])
@pytest.mark.parametrize("grow", [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])
def test_a_lattice_shows_resampling_and_no_blur(scene, factor, grow):
    side = round(384 / factor)
    small = cv2.resize(scene, (side, side), interpolation=cv2.INTER_AREA)
    grown = cv2.resize(small, (384, 384), interpolation=grow)
    if grow != cv2.INTER_LANCZOS4:  # which leaves next to none
        assert lattice(blurs._windows(grown, WHOLE)) > LATTICE
    assert lattice(blurs._windows(cv2.GaussianBlur(scene, (0, 0), factor / 2), WHOLE)) < LATTICE
    blur = measured(grown, WHOLE)
    assert blur is None or not blur.holds


@pytest.mark.parametrize("shape", [(8, 8), (63, 400), (64, 64), (70, 90)])
def test_of_little_nothing_is_said(shape):
    assert measured(np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32)) is None


def test_flat_and_saturated_pictures_say_nothing():
    assert measured(np.full((256, 256, 3), 255, np.uint8), np.ones((256, 256), np.float32)) is None
    assert measured(photo("astronaut", 256), np.zeros((256, 256), np.float32)) is None


def test_the_noise_and_the_scene_are_those_of_the_picture(scene):
    blurred = cv2.GaussianBlur(scene, (0, 0), 1.5)
    blur = measured(blurred, WHOLE)
    assert blur is not None
    assert 1 / 12 <= blur.noise < 0.3  # rounding alone
    noisy = blurred + np.random.default_rng(0).normal(0, 4, scene.shape)
    other = measured(np.rint(noisy).clip(0, 255).astype(np.uint8), WHOLE)
    assert other is None or other.noise == pytest.approx(16, rel=0.4)
    power = blur.scene(96, 128)
    assert power.shape == (96, 65)
    assert power.min() > 0
    assert power[0, 4] > power[0, 16] > power[0, 60]


def test_windows_lie_inside_and_their_number_is_bounded(scene):
    weight = WHOLE.copy()
    weight[:100] = 0
    found = blurs._windows(scene, weight)
    assert found.shape[1:] == (WINDOW, WINDOW)
    assert 0 < len(found) <= blurs.MOST
    large = np.zeros((2048, 2048, 3), np.uint8)
    assert len(blurs._windows(large, np.ones((2048, 2048), np.float32))) <= blurs.MOST
