from dataclasses import replace

import numpy as np
import pytest

from qrefine.training import benign
from qrefine.training.pairs import Recipe, make_pair, traced
from qrefine.training.regions import soft_region
from qrefine.training.scenes import _SCENES, scene

RECIPE = Recipe(size=64)


def test_a_pair_is_a_function_of_its_seed():
    one, two, other = (make_pair((), RECIPE, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(one.clean, two.clean)
    assert np.array_equal(one.damaged, two.damaged)
    assert np.array_equal(one.severity, two.severity)
    assert not np.array_equal(one.clean, other.clean)


@pytest.mark.parametrize(
    "photos", [(), (np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8),)]
)
def test_severity_tells_where_damage_is(photos):
    for index in range(60):
        pair = make_pair(photos, replace(RECIPE, scenes=0.0), (0, index))
        assert pair.clean.shape == pair.damaged.shape == (64, 64, 3)
        assert 0 <= pair.severity.min() <= pair.severity.max() <= 1
        assert np.mean((pair.damaged != pair.clean).any(2) & (pair.severity == 0)) < 0.05  # traces fade out
        if pair.kinds:
            assert pair.severity.max() >= max(plane.max() for plane in pair.kinds.values()) - 1e-6
        else:
            assert np.array_equal(pair.clean, pair.damaged)
            assert not pair.severity.any()


def test_shares_are_kept():
    pairs = [make_pair((), replace(RECIPE, clean=0.5, whole=1.0), (4, index)) for index in range(200)]
    assert 70 <= sum(not pair.kinds for pair in pairs) <= 130
    damaged = [pair.severity for pair in pairs if pair.kinds]
    assert np.mean([np.ptp(severity) < 1e-6 for severity in damaged]) > 0.5  # all over


def test_second_damage_adds_up():
    recipe = replace(RECIPE, clean=0.0, whole=0.0, second=1.0)
    assert any(len(make_pair((), recipe, (5, index)).kinds) == 2 for index in range(10))


def test_unknown_families_are_refused():
    with pytest.raises(ValueError, match="rust"):
        Recipe(weights=(("rust", 1.0),))


def test_damage_without_a_trace_is_none():
    flat = np.full((64, 64, 3), 200, np.uint8)
    changed = flat.copy()
    changed[:32] += 4
    severity = traced(np.ones((64, 64), np.float32), flat, changed)
    assert (severity[:32] == 1).all()
    assert (severity[45:] == 0).all()


def test_regions_are_soft_and_within_bounds():
    covers = []
    for seed in range(80):
        mask = soft_region(60, 90, np.random.default_rng(seed))
        assert mask.shape == (60, 90)
        assert mask.min() >= 0
        assert mask.max() <= 1 + 1e-6
        assert mask.max() > 0.9
        covers.append(mask.mean())
    assert 0.2 < np.mean(covers) < 0.6


@pytest.mark.parametrize("make", _SCENES)
def test_scenes_are_sized_and_varied(make):
    one, two = (make(72, np.random.default_rng(seed)) for seed in (0, 1))
    assert one.shape == (72, 72, 3)
    assert np.isfinite(one).all()
    assert np.abs(one - two).mean() > 5


def test_a_scene_is_pixels():
    assert scene(40, np.random.default_rng(0)).dtype == np.uint8


def test_finishing_touches_are_slight_and_tones_keep_the_shape():
    image = scene(64, np.random.default_rng(2))
    for seed in range(30):
        finished = benign.finish(image, np.random.default_rng(seed))
        assert np.abs(finished.astype(float) - image).mean() < 6
        assert benign.tone(image, np.random.default_rng(seed)).shape == image.shape
