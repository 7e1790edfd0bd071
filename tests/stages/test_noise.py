"""Stage 1 against equation (3) as the paper writes it."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.config import load_config
from qrefine.quality.regions import flatten
from qrefine.sample import Sample
from qrefine.stages.noise import Noise, add_noise, noise_weight
from tests.stages.backends import quality
from tests.support import photo

PAPER = load_config(None, ["mode=paper"])
IMAGE = photo(size=32)


def test_the_weight_is_how_far_quality_is_below_the_bound() -> None:
    plane = np.array([[0, 0.1, 0.4, 0.9]], dtype=np.float32)
    assert np.allclose(noise_weight(plane, 0.4), [[0.4, 0.3, 0, 0]])


def test_noise_is_mixed_in_as_equation_3_says() -> None:
    w = np.linspace(0, 0.4, 32 * 32, dtype=np.float32).reshape(32, 32)
    rng = np.random.default_rng(7)
    found = add_noise(IMAGE, w, 7, 0.5, 0.25)
    g = np.clip(rng.normal(0.5, 0.25, size=(32, 32)), 0, 1)  # the paper's (h, w): the same for all channels
    for y in range(0, 32, 5):
        for x in range(32):
            for c in range(3):
                i1 = w[y, x] * g[y, x] + (1 - w[y, x]) * IMAGE[y, x, c] / 255
                assert abs(found[y, x, c] - i1 * 255) <= 0.501


def test_a_pixel_of_weight_zero_stays_exactly() -> None:
    w = np.zeros((32, 32), dtype=np.float32)
    w[:8] = 0.4
    noised = add_noise(IMAGE, w, 1, 0.5, 0.25)
    assert np.array_equal(noised[8:], IMAGE[8:])
    assert (noised[:8] != IMAGE[:8]).any(axis=-1).mean() > 0.9


def test_the_noise_has_the_mean_and_spread_that_are_set() -> None:
    grey = np.full((256, 256, 3), 128, dtype=np.uint8)
    noised = add_noise(grey, np.ones((256, 256), dtype=np.float32), 0, 0.5, 0.1) / 255
    assert noised.mean() == pytest.approx(0.5, abs=0.005)
    assert noised.std() == pytest.approx(0.1, abs=0.005)


def test_the_seed_alone_decides_the_noise() -> None:
    w = np.full((32, 32), 0.3, dtype=np.float32)
    first, again, other = (add_noise(IMAGE, w, seed, 0.5, 0.25) for seed in (1, 1, 2**63 - 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_runs_in_mode_paper_on_low_quality_only() -> None:
    bad = Sample(decoded=IMAGE, before=quality([[0.1, 0.9], [0.9, 0.9]]))
    fair = Sample(decoded=IMAGE, before=quality([[0.4, 0.9], [0.9, 0.9]]))
    assert Noise(PAPER).wants(bad)
    assert not Noise(PAPER).wants(fair)
    assert not Noise(load_config(None, ["mode=fused"])).wants(bad)


def test_the_stage_noises_each_sample_by_its_own_map_and_seed() -> None:
    samples = [Sample(decoded=IMAGE, seed=s, before=quality([[0.1, 0.9], [0.9, 0.9]])) for s in (1, 2)]
    done = Noise(PAPER)(samples)
    w = noise_weight(flatten(samples[0].quality, 32, 32), PAPER.bounds.lq)
    for sample in done:
        assert np.array_equal(sample.pixels, add_noise(IMAGE, w, sample.seed, 0.5, 0.25))
        assert sample.stages == ("noise",)
        assert np.array_equal(sample.pixels[w == 0], IMAGE[w == 0])
    assert not np.array_equal(done[0].pixels, done[1].pixels)
    assert np.array_equal(samples[0].image, IMAGE)
