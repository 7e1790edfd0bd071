"""The quality map as a value."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.quality.map import QualityMap


def test_the_score_is_the_mean() -> None:
    quality = QualityMap(np.array([[0, 0.5], [0.5, 1]], dtype=np.float32))
    assert (quality.n, quality.score) == (2, 0.5)


def test_the_score_of_a_large_map_loses_no_precision() -> None:
    assert QualityMap(np.full((128, 128), 0.7)).score == pytest.approx(float(np.float32(0.7)), abs=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3)), np.zeros(4), np.zeros((0, 0)), np.zeros((2, 2, 1)), np.full((2, 2), 1.0001),
        np.full((2, 2), -1e-6), np.array([[0, np.nan], [0, 0]]), np.array([[0, np.inf], [0, 0]]),
    ],
    ids=["oblong", "flat", "empty", "deep", "above", "below", "nan", "inf"],
)  # fmt: skip
def test_what_is_no_map_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="a quality map"):
        QualityMap(values)


def test_a_map_changes_neither_by_itself_nor_with_its_source() -> None:
    source = np.zeros((2, 2), dtype=np.float32)
    quality = QualityMap(source)
    source[0, 0] = 1
    assert quality.values[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        quality.values[0, 0] = 1


def test_maps_are_equal_by_their_values() -> None:
    a, b, c = (QualityMap(np.full((2, 2), value)) for value in (0.5, 0.5, 0.6))
    assert a == b
    assert hash(a) == hash(b)
    assert a != c
    assert a != 0.5
