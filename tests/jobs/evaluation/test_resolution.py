"""What the mapper's resolution is measured on."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate_resolution import SMALL, STRONG, both, damaged_patches, small_defects
from tests.support import photo
from training.degradations_cv2 import KINDS
from training.figures import Case, auc


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_defect_is_one_square_and_lies_in_some_patches(kind: str) -> None:
    clean = photo("coffee", 256)
    for case in small_defects([clean], kind, 3, np.random.default_rng(0)):
        changed = (case.damaged != case.clean).any(-1)
        rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
        assert 0 < np.ptp(rows) < SMALL
        assert 0 < np.ptp(columns) < SMALL
        found = damaged_patches(case, (4, 4))
        assert 1 <= found.sum() <= 4
        assert not found[case.region.reshape(4, 64, 4, 64).max((1, 3)) == 0].any()


def test_a_large_region_counts_where_it_covers_half_of_a_patch() -> None:
    clean, region = photo("coffee", 128), np.zeros((128, 128), np.float32)
    region[:80, :64] = 1  # all of one patch of 64 px, a quarter of the one below
    assert damaged_patches(Case(clean, clean, region, "jpeg", 1), (2, 2)).tolist() == [
        [True, False],
        [False, False],
    ]


def test_both_resolutions_have_the_n_of_the_full_image() -> None:
    (case,) = small_defects([photo("coffee", 512)], "gaussian_noise", 1, np.random.default_rng(0))
    assert case.severity == STRONG
    full, less = both(None, 0.5)(case.damaged)
    assert full.shape == less.shape == (16, 16)
    assert auc(1 - full, damaged_patches(case, (16, 16))) > 0.98
