import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.restorers import deconvolution
from qrefine.models.restorers.blurs import measured
from qrefine.models.restorers.deconvolution import deconvolved, without_blur
from qrefine.models.restorers.exact import undone
from tests.support import disc, line, photo
from training.figures import psnr

CPU = torch.device("cpu")
WHOLE = np.ones((384, 384), np.float32)


@pytest.fixture(scope="module")
def scene():
    return photo("astronaut", 384)


@pytest.fixture(scope="module")
def blurred(scene):
    return cv2.filter2D(scene, -1, disc(3.0))


@pytest.fixture(scope="module")
def blur(blurred):
    found = measured(blurred, WHOLE)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize(
    "made", [lambda x: cv2.GaussianBlur(x, (0, 0), 1.5), lambda x: cv2.filter2D(x, -1, disc(2.6)),
             lambda x: cv2.filter2D(x, -1, line(10, 1.9))], ids=["gaussian", "disc", "line"],
)  # fmt: skip
def test_blur_is_undone(name, made):
    clean = photo(name, 384)
    damaged = made(clean)
    sharp = without_blur(damaged, WHOLE, CPU)
    assert psnr(sharp, clean) > psnr(damaged, clean) + 1.5


def test_a_region_is_sharpened_and_the_rest_stays(scene, blurred):
    y, x = np.mgrid[:384, :384]
    region = np.clip((150 - np.hypot(y - 180, x - 200)) / 12, 0, 1).astype(np.float32)
    damaged = np.rint(scene + region[..., None] * (blurred.astype(np.float32) - scene)).astype(np.uint8)
    sharp = without_blur(damaged, region, CPU)
    inside = region > 0.5
    assert psnr(sharp, scene, inside) > psnr(damaged, scene, inside) + 2.5
    assert np.array_equal(sharp[region == 0], damaged[region == 0])


def test_what_the_kernel_does_not_explain_stays(scene, blurred, blur):
    lettered = blurred.copy()
    cv2.putText(lettered, "SHARP", (60, 200), cv2.FONT_HERSHEY_SIMPLEX, 3, (255, 255, 255), 8)
    sharp = deconvolved(lettered, WHOLE, blur, CPU)
    letters = cv2.erode((lettered != blurred).any(2).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.abs(sharp[letters].astype(int) - lettered[letters]).mean() < 6
    far = np.ones((384, 384), bool)
    far[110:230] = False
    assert psnr(sharp, scene, far) > psnr(blurred, scene, far) + 2


def test_pictures_that_are_not_blurred_come_back_themselves(scene):
    assert without_blur(scene, WHOLE, CPU) is scene
    assert undone(scene, WHOLE, CPU) is scene
    assert without_blur(scene, 0 * WHOLE, CPU) is scene


def test_tiles_agree_with_the_whole(scene, blurred, blur, monkeypatch):
    whole = deconvolved(blurred, WHOLE, blur, CPU)
    monkeypatch.setattr(deconvolution, "TILE", 224)
    tiled = deconvolved(blurred, WHOLE, blur, CPU)
    assert psnr(tiled, whole) > 38
    assert psnr(tiled, scene) > psnr(blurred, scene) + 2


@pytest.mark.parametrize("made", [disc(3.0), line(9, 1.9)], ids=["disc", "line"])
def test_the_number_of_threads_changes_no_pixel(scene, made):
    blurred, found, before = cv2.filter2D(scene, -1, made), [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(without_blur(blurred, WHOLE, CPU))
    finally:
        torch.set_num_threads(before)
    assert (found[0] != blurred).any()
    assert np.array_equal(*found)


@settings(max_examples=12, deadline=None)
@given(
    top=st.integers(0, 300), left=st.integers(0, 300), height=st.integers(1, 84), width=st.integers(1, 84),
    strength=st.floats(0.01, 1),
)  # fmt: skip
def test_pixels_outside_the_weight_never_change(blurred, blur, top, left, height, width, strength):
    weight = np.zeros((384, 384), np.float32)
    weight[top : top + height, left : left + width] = strength
    sharp = deconvolved(blurred, weight, blur, CPU)
    assert np.array_equal(sharp[weight == 0], blurred[weight == 0])
