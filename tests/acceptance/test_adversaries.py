"""Acceptance against liars and for honest repairs, with the package's own weights; the full suite is a job.

Kinds here are those that neither training nor calibration saw. The bounds are what ``jobs/evaluate_acceptance.py``
measured, with room for few cases: the tests fail when harm rises or honest repairs are lost.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from evaluate_acceptance import Verdict, verdicts
from qrefine.config import RefineConfig
from qrefine.quality.map import Image
from qrefine.stages.refiner import Refiner
from tests.support import photo
from training import lies, offers, pictures
from training.offers import Offer

SIDE = 192
MOST_HARM = 1
"""Of a dozen liars, or of nine looks."""

LEAST_KEPT = 0.6
"""Of clean originals, at the default risk."""

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
CONFIG = RefineConfig()


@pytest.fixture(scope="module")
def photos() -> list[Image]:
    return [photo(name, SIDE) for name in NAMES]


def run(of: Iterable[Offer]) -> list[Verdict]:
    return verdicts(CONFIG, of)


def test_liars_of_unseen_kinds_do_no_harm(photos: list[Image]) -> None:
    found = run(
        offers.lying(photos, lies.held_out_names(), ("gaussian_noise", "jpeg", "gaussian_blur"), 1, "liars")
    )
    assert sum(offers.harmful(v.offer, v.offer.after) for v in found) >= 6
    assert sum(v.harm for v in found) <= MOST_HARM


def test_filters_on_looks_of_unseen_kinds_do_no_harm(photos: list[Image]) -> None:
    looks = pictures.looks_by_family(1, SIDE, photos, held_out=True)
    some = {name: looks[name] for name in sorted(looks)[::3]}
    found = [
        v for v in run(offers.styled(some, lambda image, mask: image, "styles")) if "restorer" not in v.offer.kind
    ]
    assert sum(offers.harmful(v.offer, v.offer.after) for v in found) >= 4
    assert sum(v.harm for v in found) <= MOST_HARM


def test_the_clean_original_is_accepted(photos: list[Image]) -> None:
    kinds = ("gaussian_noise", "jpeg", "gaussian_blur", "checkerboard")
    found = run(offers.perfect(photos, kinds, 2, 0.1, 0.4, "clean original"))
    assert sum(v.accepted for v in found) >= LEAST_KEPT * len(found)
    assert not any(v.harm for v in found)


def test_clean_photographs_come_back_as_they_are(photos: list[Image]) -> None:
    for image, result in zip(photos, Refiner(CONFIG)(photos), strict=True):
        assert result.decision != "accepted"
        assert np.array_equal(result.image, image)


def test_one_command_measures_all_of_it() -> None:
    """Harm by family, honest repairs by kind: rows of Markdown from verdicts."""
    from evaluate_acceptance import rows_of_harm, rows_of_repairs

    image = photo(size=64)
    worse = 255 - image
    lie = Verdict(Offer("liars", "negative", image, image, worse), "accepted", worse)
    true = Verdict(Offer("clean original", "noise", image, worse, image), "accepted", image)
    kept = Verdict(Offer("clean original", "noise", image, worse, image), "no_gain", worse)
    assert rows_of_harm([lie])[0][:3] == ("liars", "1 of 1 (100.0%)", "1 of 1 (100.0%)")
    row = next(row for row in rows_of_repairs([true, kept]) if row[0] == "clean original")
    assert row[1:] == ("1 of 2 (50.0%)", "50.0%", "1 of 2 (50.0%)", "no_gain 1")
