"""Acceptance against liars and for honest repairs, with the package's own weights; the full suite is a job.

Kinds here are those that neither training nor calibration saw. The bounds are what ``jobs/evaluate_acceptance.py``
measured, with room for few cases: the tests fail when harm rises or honest repairs are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import cv2
import numpy as np
import pytest

from evaluate_acceptance import Verdict, verdicts
from qrefine.cli.demo import demo_samples
from qrefine.config import RefineConfig, load_config
from qrefine.corpus.images import decode
from qrefine.quality.map import Image
from qrefine.sample import Sample
from qrefine.stages.accept import Accept
from qrefine.stages.refiner import Refiner, build_stages
from tests.stages.backends import better_where_changed
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


def sky(seed: int, size: int = SIDE) -> Image:
    """A clear night: a dark gradient, 150 stars of a pixel or two, hills without any."""
    rng = np.random.default_rng(seed)
    image = np.linspace((8, 12, 38), (40, 48, 100), size)[:, None].repeat(size, 1)
    image += rng.normal(0, 0.6, image.shape)
    places, levels = rng.integers(0, (size * 3 // 4, size - 2), (150, 2)), rng.uniform(90, 255, 150)
    for (row, column), level in zip(places, levels, strict=True):
        image[row : row + 1 + (level > 220), column : column + 1 + (level > 220)] = level
    image[size * 4 // 5 :] = (6, 9, 14)
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "erase", [partial(cv2.medianBlur, ksize=3), partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=2)]
)
def test_a_night_sky_keeps_its_stars(seed: int, erase: Callable[[Image], Image]) -> None:
    """Without a prompt for the judge's sake; by a prompt that names them also where the judge is overruled."""
    before = sky(seed)
    after = np.asarray(erase(before))
    accept, *_ = build_stages(["accept"], CONFIG)
    assert isinstance(accept, Accept)
    mapper = better_where_changed(before)

    def decided(prompt: str | None, *overrides: str) -> Sample:
        config = load_config(None, ("bounds={lq: 0, mq: 0, hq: 0}", *overrides))
        sample = Sample(decoded=before, prompt=prompt, before=mapper([before])[0]).changed(after, "inpaint")
        return Accept(config, mapper, accept.comparator)([sample])[0]

    assert decided(None).decision == "judged_worse"
    assert decided("a hut below a starry sky").decision == "judged_worse"
    assert decided(None, "accept.threshold=0").decision == "accepted"
    kept = decided("a hut below a starry sky", "accept.threshold=0")
    bright = (before.max(axis=-1) > 80) & (np.abs(after.astype(int) - before).max(axis=-1) > 40)
    assert bright.sum() > 50
    assert np.array_equal(kept.pixels[bright], before[bright])


def test_clean_photographs_come_back_as_they_are(photos: list[Image]) -> None:
    for image, result in zip(photos, Refiner(CONFIG)(photos), strict=True):
        assert result.decision != "accepted"
        assert np.array_equal(result.image, image)


@pytest.mark.parametrize("damaged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_demo_changes_no_undamaged_picture_and_makes_no_other_worse(damaged: bool) -> None:
    images = {str(s["__key__"]): decode(s["png"], CONFIG.images) for s in demo_samples()}  # type: ignore[arg-type]
    some = {key: image for key, image in images.items() if key.endswith("-0") != damaged}
    assert len(some) == (24 if damaged else 6)
    refiner, better = Refiner(CONFIG), 0
    for key, image in some.items():
        result, truth = refiner([image])[0].image, images[f"{key[:-2]}-0"]
        gain = offers.psnr(result, truth) - offers.psnr(image, truth)
        assert np.array_equal(result, image) or (damaged and gain > -offers.LOSES), key
        better += gain > 1
    assert better >= 5 * damaged


def test_what_is_erased_in_one_place_is_harm() -> None:
    before = photo(size=2 * SIDE)
    after = before.copy()
    after[40:60, 40:60] = cv2.blur(before[40:60, 40:60], (9, 9))
    offer = Offer("styles", "erased", before, before, after)
    assert offers.psnr(after, before) > offers.UNHARMED
    assert offers.worst_block(after, before) < offers.UNHARMED_BLOCK
    assert offers.harmful(offer, after)
    assert not offers.harmful(offer, before)
    assert offers.worst_block(before, before) == 99


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
