"""Generative repairs by the perceptual label; the network's weights are random here."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support import photo
from training import perceptual
from training.generative import DAMAGE, HEADS, Outcome, Sight, generated, on_region, rows, sight

PHOTOS = [photo("astronaut", 128), photo("coffee", 128)]


@pytest.fixture(scope="module")
def features():
    return perceptual.load(None)


def blurred(image, region):
    mixed = image + region[..., None] * (cv2.GaussianBlur(image, (0, 0), 4).astype(np.float32) - image)
    return np.rint(mixed).astype(np.uint8)


def test_only_the_region_is_changed_and_the_box_around_it_is_all_that_is_seen():
    image, region = PHOTOS[0], np.zeros((128, 128), np.float32)
    region[60:70, 100:128] = 1
    seen = []

    def restore(box, plane):
        seen.append(box.shape)
        assert plane.max() == 1
        return blurred(box, plane)

    result = on_region(restore, image, region)
    assert seen == [(58, 52, 3)]
    assert np.array_equal(result[region == 0], image[region == 0])
    assert not np.array_equal(result, image)


def test_offers_are_of_every_kind_and_the_same_each_time():
    first, second = (list(generated(PHOTOS, PHOTOS, 2, blurred)) for _ in range(2))
    assert [o.kind for o in first] == [
        k for k in (*DAMAGE, "undamaged photograph", "undamaged look") for _ in "ab"
    ]
    assert all(np.array_equal(a.after, b.after) for a, b in zip(first, second, strict=True))
    assert [o.undamaged for o in first] == [False] * 6 + [True] * 4


def test_the_truth_is_honest_a_blur_is_not_and_nothing_is_neither(features):
    offer = next(generated(PHOTOS, PHOTOS, 1, blurred))
    assert sight(features, offer, offer.truth).honest
    assert sight(features, offer, offer.truth).ratio == 0
    worse = sight(features, offer, cv2.GaussianBlur(offer.before, (0, 0), 6))
    assert not worse.honest
    assert worse.ratio > 1
    assert worse.gain < 0
    assert sight(features, offer, offer.before) == Sight(0.5, pytest.approx(1), 0)


def test_the_table_counts_what_was_kept_and_what_did_harm():
    good, bad, same = Sight(0.9, 0.5, 1), Sight(0.1, 2, -1), Sight(0.5, 1, 0)
    told = rows([
        Outcome("jpeg", "accepted", good, good), Outcome("jpeg", "judged_worse", good, same),
        Outcome("look", "accepted", bad, bad), Outcome("look", "colour", bad, same),
    ])  # fmt: skip
    assert len(told[0]) == len(HEADS)
    assert told[0] == ("jpeg", "2 / 2 of 2", "0.50", "1 of 2", "1 of 2", "0 of 0", "0 / 0 of 1", "judged_worse 1")
    assert told[1] == ("look", "0 / 0 of 2", "", "0 of 0", "0 of 0", "1 of 2", "1 / 1 of 1", "")
    assert told[2][3:7] == ("1 of 2", "1 of 2", "1 of 2", "1 / 1 of 2")
