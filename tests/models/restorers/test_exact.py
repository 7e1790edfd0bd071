"""What is measured is undone wholly, however little the mapper is sure."""

import cv2
import numpy as np
import pytest
import torch

from qrefine.models.restorers.exact import SURE, undone
from tests.support import disc, photo
from training.figures import psnr

CPU = torch.device("cpu")


def specks(image):
    rng = np.random.default_rng(0)
    result, hit = image.copy(), rng.random(image.shape) < 0.03
    result[hit] = rng.choice(np.array([0, 255], np.uint8), int(hit.sum()))
    return result


def grid(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return (image + 12.0 * ((x + y) % 2 * 2 - 1)[..., None]).clip(0, 255).round().astype(np.uint8)


def blur(image):
    return cv2.filter2D(image, -1, disc(3.0))


@pytest.mark.parametrize("damage", [specks, grid, blur])
def test_a_doubtful_map_does_not_leave_half_of_it(damage):
    clean = photo("astronaut", 384)
    damaged = damage(clean)
    whole = undone(damaged, np.ones((384, 384), np.float32), CPU)
    assert psnr(whole, clean) > psnr(damaged, clean) + 2
    little = undone(damaged, np.full((384, 384), 1 / SURE, np.float32), CPU)
    assert np.array_equal(little, whole)


@pytest.mark.parametrize("damage", [specks, grid, blur])
def test_where_the_strength_is_nothing_pixels_stay(damage):
    damaged = damage(photo("astronaut", 384))
    strength = np.zeros((384, 384), np.float32)
    strength[60:340, 40:330] = 0.05
    result = undone(damaged, strength, CPU)
    assert (result != damaged).any()
    assert np.array_equal(result[strength == 0], damaged[strength == 0])
