import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.training.degradations import FAMILIES, KINDS, degrade
from qrefine.training.scale import geometric
from qrefine.training.scenes import dead_leaves, texture


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(1)
    return np.concatenate([dead_leaves(96, rng), texture(96, rng)], 1).clip(0, 255).astype(np.uint8)


def test_every_kind_is_in_one_family():
    named = [kind for kinds in FAMILIES.values() for kind in kinds]
    assert sorted(named) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_grows_with_severity(image, kind):
    errors = []
    for severity in (0.05, 0.35, 0.65, 0.95):
        changed = [degrade(image, kind, severity, np.random.default_rng(seed)) for seed in range(12)]
        errors.append(np.mean([np.abs(c.astype(float) - image).mean() for c in changed]))
    assert errors[0] > 0
    assert errors == sorted(errors)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_functions_of_their_seed_and_leave_the_source(image, kind):
    kept = image.copy()
    one, two = (degrade(image, kind, 0.5, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(image, kept)
    assert one.shape == image.shape
    assert one.dtype == np.uint8


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(list(KINDS)), st.floats(0, 1), st.integers(32, 90), st.integers(32, 90))
def test_any_size_and_severity(kind, severity, height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert degrade(image, kind, severity, np.random.default_rng(0)).shape == image.shape


def test_unknown_kinds_and_severities_are_refused(image):
    with pytest.raises(ValueError, match="no degradation is called 'rust'"):
        degrade(image, "rust", 0.5, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        degrade(image, "jpeg", 1.5, np.random.default_rng(0))


def test_geometric_runs_in_equal_ratios():
    assert [geometric(2, 32, s) for s in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([2, 4, 8, 16, 32])
