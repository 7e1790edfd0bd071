"""The judge's thresholds: what few losses show, and the strictest family counts."""

from __future__ import annotations

import numpy as np

from calibrate_judge import THRESHOLDS, curve, shown


def test_no_loss_shows_a_hundredth_from_299_candidates_on() -> None:
    """The rule of three: .99 ** 299 is just below 5 %."""
    assert shown(0, 299, 0.01)
    assert not shown(0, 298, 0.01)
    assert not shown(1, 299, 0.01)
    assert [max(k for k in range(40) if shown(k, n, 0.01)) for n in (1018, 1199, 1800)] == [4, 6, 10]


def test_the_strictest_family_decides_and_a_small_one_shows_nothing() -> None:
    def losing(count: int, until: int) -> list[np.ndarray]:
        """``count`` candidates, of which a twentieth is harmful at thresholds below the one numbered ``until``."""
        return [(np.arange(len(THRESHOLDS)) < until) & (k % 20 == 0) for k in range(count)]

    both = {"mild": losing(1000, 3), "strict": losing(1000, 30)}
    assert dict(curve(both, (0.01,))) == {0.01: round(float(THRESHOLDS[30]), 5)}
    assert dict(curve(both, (0.1,))) == {0.1: round(float(THRESHOLDS[0]), 5)}
    assert curve({**both, "few": losing(100, 3)}, (0.01,)) == []
