"""Filtering by q, with mappers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.filtering import damaged, rows
from tests.support import photo
from training.figures import Image, Plane

SOURCES = {"light": [photo("coffee", 96) // 2 + 127] * 6, "dark": [photo("coffee", 96) // 4] * 6}


def exact(pictures: list[Image]) -> list[Plane]:
    """Knows the undamaged pictures."""
    clean = [p for some in SOURCES.values() for p in some]
    return [np.full((2, 2), float(any(np.array_equal(p, c) for c in clean)), np.float32) for p in pictures]


def by_style(pictures: list[Image]) -> list[Plane]:
    """Sees all damage, and takes what is dark for worse than what is damaged and light."""
    return [0.2 * q + np.float32(0.6 * (p.mean() > 100)) for p, q in zip(pictures, exact(pictures), strict=True)]


def test_damage_is_seen_by_who_sees_it_and_is_the_same_again() -> None:
    assert [row[2:] for row in rows(exact, SOURCES, 1)] == [["1.000", "100%"]] * 3
    blind = [row[2:] for row in rows(lambda pictures: [np.ones((2, 2), np.float32)] * len(pictures), SOURCES, 1)]
    assert blind == [["0.500", "0%"]] * 3
    made = damaged(SOURCES["dark"], 1)
    assert all(np.array_equal(a, b) for a, b in zip(made, damaged(SOURCES["dark"], 1), strict=True))
    assert not any(np.array_equal(p, SOURCES["dark"][0]) for p in made)


def test_a_bias_against_a_style_shows_in_the_mixed_line_alone() -> None:
    *single, mixed = rows(by_style, SOURCES, 1)
    assert [row[2] for row in single] == ["1.000", "1.000"]
    assert float(mixed[2]) == pytest.approx(0.75)
