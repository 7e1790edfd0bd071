"""Words of prompts that name a look, and cells that would lose it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from qrefine.config import Wish
from qrefine.stages.wishes import WORDS, against_wishes, asked_for
from tests.support import photo

CELL = 16


@pytest.mark.parametrize(
    ("prompt", "wishes"),
    [
        ("a night sky full of stars", {"marks"}),
        ("Starry Night, oil on canvas", {"marks"}),
        ("a startup office, a starfish", set()),
        ("no stars", set()),
        ("a street without any snow", set()),
        ("no stars, but snow", {"marks"}),
        ("Sternenhimmel über Berlin, ohne Nebel", {"marks"}),
        ("film grain, bokeh", {"texture", "soft"}),
        ("パンダのドット絵", {"texture"}),
        ("夜空の星", {"marks"}),
        ("туманное утро, лес в тумане, туман", {"soft"}),
        ("A   night\nsky", {"marks"}),
        ("", set()),
        (None, set()),
        ("a red apple", set()),
    ],
)
def test_words_are_found_whole_in_their_scripts_and_taken_back_by_a_no(
    prompt: str | None, wishes: set[Wish]
) -> None:
    assert asked_for(prompt) == wishes


def test_every_word_of_the_table_is_found_and_settings_add_more() -> None:
    for kind, words in WORDS.items():
        for word in (word.strip() for line in words.splitlines() for word in line.split("|")):
            if word:
                assert kind in asked_for(f"a {word}, please"), word
    assert asked_for("a zebra coat") == set()
    assert asked_for("a Zebra coat", {"texture": ("zebra",)}) == {"texture"}
    assert asked_for("zebras", {"texture": ("zebra",)}) == set()


def starry() -> np.ndarray:
    sky = np.full((64, 64, 3), 20, np.uint8)
    sky[8::16, 8::16] = 230
    return sky


def test_an_image_of_stars_does_not_lose_them() -> None:
    before = starry()
    after = before.copy()
    after[:32] = 20
    lost = against_wishes(frozenset({"marks"}), before, after, CELL)
    assert lost[:2].all()
    assert not lost[2:].any()
    assert not against_wishes(frozenset({"soft"}), before, after, CELL).any()


def test_texture_does_not_go_and_softness_does_not_turn_into_detail() -> None:
    sharp = photo(size=64)
    soft = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert against_wishes(frozenset({"texture"}), sharp, soft, CELL).mean() > 0.8
    assert against_wishes(frozenset({"soft"}), soft, sharp, CELL).mean() > 0.8
    assert not against_wishes(frozenset({"texture"}), soft, sharp, CELL).any()
    assert not against_wishes(frozenset({"soft"}), sharp, soft, CELL).any()


def test_what_did_not_change_loses_nothing() -> None:
    image = photo(size=50)
    wishes: frozenset[Wish] = frozenset({"marks", "texture", "soft"})
    lost = against_wishes(wishes, image, image, CELL)
    assert lost.shape == (4, 4)
    assert not lost.any()
