import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.restorers.embedded import BLUR, EmbeddedRestorer
from tests.support import photo
from training.degradations_cv2 import degrade
from training.figures import psnr


@pytest.fixture(scope="module")
def restorer():
    return EmbeddedRestorer()


@pytest.fixture(scope="module")
def scene():
    return photo("astronaut", 256)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def restore(restorer, image, strength):
    return restorer([image], [strength], [""], [0])[0]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_strength_zero_gives_the_pixel_back(height, width, seed):
    rng = np.random.default_rng(seed)
    image = noise(height, width, seed)
    strength = rng.random((height, width), dtype=np.float32) * (rng.random((height, width)) < 0.5)
    kept = image.copy()
    restored = restore(RESTORER, image, strength)
    assert restored.shape == image.shape
    assert restored.dtype == np.uint8
    assert np.array_equal(restored[strength == 0], image[strength == 0])
    assert np.array_equal(image, kept)


RESTORER = EmbeddedRestorer(tile=112)  # small tiles: most of the sizes above need several


def test_a_batch_changes_no_bit(restorer):
    rng = np.random.default_rng(0)
    images = [noise(*(int(v) for v in rng.integers(1, 150, 2)), seed=i) for i in range(9)]
    strengths = [rng.random(image.shape[:2], dtype=np.float32) for image in images]
    together = restorer(images, strengths, [""] * 9, range(9))
    for image, strength, restored in zip(images, strengths, together, strict=True):
        assert np.array_equal(restore(restorer, image, strength), restored)


def test_prompts_and_seeds_change_nothing(restorer, scene):
    strength = np.ones(scene.shape[:2], np.float32)
    one = restorer([scene], [strength], ["a corgi"], [1])[0]
    assert np.array_equal(one, restorer([scene], [strength], [""], [2])[0])


def gain(restorer, scene, kind, severity):
    """Mean gain in dB over draws of what chance decides in the damage, such as a grid's period."""
    gains = []
    for seed in range(8):  # of four, one draw decided alone
        damaged = degrade(scene, kind, severity, np.random.default_rng(seed))
        restored = restore(restorer, damaged, np.ones(scene.shape[:2], np.float32))
        gains.append(psnr(restored, scene) - psnr(damaged, scene))
    return np.mean(gains)


@pytest.mark.parametrize(
    ("kind", "severity", "least"),
    [
        ("gaussian_noise", 0.35, 3.0),
        ("gaussian_noise", 0.6, 3.0),
        ("salt_and_pepper", 0.5, 14.0),
        ("checkerboard", 0.6, 8.0),
        ("upsampler", 0.6, 1.5),
        ("gaussian_blur", 0.4, 2.0),
        ("motion_blur", 0.6, 3.0),
        ("defocus_blur", 0.6, 3.0),
        ("jpeg", 0.5, 0.5),
    ],
)
def test_damage_is_removed(restorer, scene, kind, severity, least):
    assert gain(restorer, scene, kind, severity) > least


def test_what_it_cannot_mend_it_hardly_changes(restorer, scene):
    """The shipped weights bring no lost resolution back (see the card), and must not harm it either."""
    assert gain(restorer, scene, "downsample", 0.5) > -0.05


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
@pytest.mark.parametrize("severity", [0.4, 0.6, 0.9])
def test_what_was_shrunk_and_grown_is_not_sharpened_as_if_it_were_blurred(restorer, name, severity):
    clean = photo(name, 256)
    damaged = degrade(clean, "downsample", severity, np.random.default_rng(2))
    whole = np.ones((256, 256), np.float32)
    assert restorer._shares(damaged, whole)[BLUR] == 0
    assert psnr(restore(restorer, damaged, whole), clean) > psnr(damaged, clean) - 0.05


def test_clean_content_is_left_almost_alone(restorer, scene):
    restored = restore(restorer, scene, np.full(scene.shape[:2], 0.5, np.float32))
    assert psnr(restored, scene) > 35


def test_tiles_show_no_seam(scene):
    mirrored = np.pad(scene, ((0, 256), (0, 256), (0, 0)), "symmetric")  # no edge of content where tiles meet
    image = degrade(mirrored, "gaussian_noise", 0.4, np.random.default_rng(0))
    strength = np.ones(image.shape[:2], np.float32)
    whole = restore(EmbeddedRestorer(tile=1024), image, strength).astype(int)
    tiled = restore(EmbeddedRestorer(tile=256), image, strength).astype(int)
    assert np.abs(whole - tiled).max() <= 12  # what lies beyond a tile is seen by the whole image alone
    assert np.abs(whole - tiled).mean() < 0.25
    apart = np.abs(np.diff((tiled - whole).astype(float), axis=0)).mean((1, 2))
    assert apart.max() < 0.5  # no row where the difference jumps


def test_a_misfitting_strength_is_refused(restorer, scene):
    with pytest.raises(ValueError, match="does not fit"):
        restore(restorer, scene, np.ones((3, 3), np.float32))


def test_tiles_below_their_overlap_are_refused():
    with pytest.raises(ValueError, match=r"tile: .*allowed: >= 112"):
        EmbeddedRestorer(tile=64)


def test_bfloat16_moves_values_little(scene):
    damaged = degrade(scene, "gaussian_noise", 0.4, np.random.default_rng(0))
    strength = np.ones(scene.shape[:2], np.float32)
    single = restore(EmbeddedRestorer(), damaged, strength).astype(int)
    half = restore(EmbeddedRestorer(bfloat16=True), damaged, strength).astype(int)
    assert np.abs(single - half).mean() < 0.6
