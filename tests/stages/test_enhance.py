"""Stage 3: equation (7)'s switch, and good regions left alone."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.config import load_config
from qrefine.quality.regions import flatten
from qrefine.sample import Sample
from qrefine.stages.enhance import Enhance
from tests.stages.backends import Idle, Wild, quality
from tests.support import photo

CONFIG = load_config(None, [])
WORDS = CONFIG.enhance.positive_words
IMAGE = photo("chelsea", 48)
POOR = quality([[0.1, 0.5], [0.9, 0.9]])  # q = 0.6 < B_HQ
GOOD = quality([[0.65, 1.0], [1.0, 1.0]])  # q = 0.91 >= B_HQ, but one patch is not good
FINE = quality([[0.8, 0.8], [0.8, 0.8]])


def test_q_below_the_bound_goes_to_the_blind_enhancer_and_the_rest_to_the_guided_one() -> None:
    blind, prompt = Wild(), Wild()
    done = Enhance(CONFIG, blind, prompt)(
        [Sample(decoded=IMAGE, prompt="p", before=POOR), Sample(decoded=IMAGE, prompt="p", before=GOOD)]
    )
    assert [sample.stages for sample in done] == [("enhance_blind",), ("enhance_prompt",)]
    assert (len(blind.calls), len(prompt.calls)) == (1, 1)
    assert set(blind.calls[0][2]) == {""}
    assert set(prompt.calls[0][2]) == {f"{WORDS}, p"}  # what is cut is at the end


def test_an_image_on_the_bound_is_not_blindly_enhanced() -> None:
    on_bound = quality([[0.6, 1.0], [0.8, 0.8]])
    assert on_bound.score == pytest.approx(0.8)
    bound = load_config(None, [f"bounds.hq={on_bound.score!r}"])
    done = Enhance(bound, Wild(), Wild())([Sample(decoded=IMAGE, before=on_bound)])
    assert done[0].stages == ("enhance_prompt",)


def test_without_a_guided_backend_the_blind_one_serves_weakly_and_without_words() -> None:
    blind = Wild()
    done = Enhance(CONFIG, blind)([Sample(decoded=IMAGE, prompt="p", before=GOOD)])
    assert done[0].stages == ("enhance_prompt",)
    [(_, planes, prompts, _)] = blind.calls
    assert prompts == [""] * len(prompts)
    assert max(float(plane.max()) for plane in planes) <= CONFIG.enhance.prompt_strength


def test_an_empty_prompt_leaves_the_positive_words_alone() -> None:
    prompt = Wild()
    Enhance(CONFIG, Wild(), prompt)([Sample(decoded=IMAGE, prompt="", before=GOOD)])
    assert set(prompt.calls[0][2]) == {WORDS}


@pytest.mark.parametrize("before", [POOR, GOOD], ids=["poor", "good"])
def test_no_pixel_of_high_quality_changes_whatever_the_model_does(before: object) -> None:
    sample = Sample(decoded=IMAGE, before=before)  # type: ignore[arg-type]
    done = Enhance(CONFIG, Wild(), Wild())([sample])[0]
    high = flatten(sample.quality, 48, 48) >= np.float32(CONFIG.bounds.hq)
    assert high.any()
    assert np.array_equal(done.pixels[high], IMAGE[high])
    assert (done.pixels[~high] != IMAGE[~high]).any(axis=-1).all()


def test_it_works_on_what_the_stages_before_it_made() -> None:
    earlier = photo("rocket", 48)
    sample = Sample(decoded=IMAGE, before=POOR).changed(earlier, "inpaint")
    done = Enhance(CONFIG, Wild())([sample])[0]
    high = flatten(sample.quality, 48, 48) >= np.float32(CONFIG.bounds.hq)
    assert np.array_equal(done.pixels[high], earlier[high])
    assert done.stages == ("inpaint", "enhance_blind")


def test_strength_is_most_where_quality_is_lowest() -> None:
    blind = Wild()
    Enhance(CONFIG, blind)([Sample(decoded=IMAGE, before=POOR)])
    assert max(float(p.max()) for p in blind.calls[0][1]) == pytest.approx(CONFIG.enhance.blind_strength)


def test_its_seed_is_not_that_of_stage_2() -> None:
    blind = Wild()
    Enhance(CONFIG, blind)([Sample(decoded=IMAGE, seed=41, before=POOR)])
    assert set(blind.calls[0][3]) == {42}


def test_what_changes_nothing_is_no_stage() -> None:
    assert Enhance(CONFIG, Idle())([Sample(decoded=IMAGE, before=POOR)])[0].stages == ()


PAPER = load_config(None, ["mode=paper"])


def test_the_paper_enhances_each_image_all_over_and_images_of_high_quality_by_their_prompt() -> None:
    assert Enhance(PAPER, Wild()).wants(Sample(decoded=IMAGE, before=FINE))
    blind, prompt = Wild(), Wild()
    done = Enhance(PAPER, blind, prompt)(
        [Sample(decoded=IMAGE, prompt="p", before=POOR), Sample(decoded=IMAGE, prompt="p", before=FINE)]
    )
    assert [sample.stages for sample in done] == [("enhance_blind",), ("enhance_prompt",)]
    settings = PAPER.enhance
    for backend, strength in ((blind, settings.blind_strength), (prompt, settings.prompt_strength)):
        [(_, [plane], _, _)] = backend.calls
        assert plane.shape == (48, 48)
        assert (plane == np.float32(strength)).all()
    assert all((sample.pixels != IMAGE).any(axis=-1).all() for sample in done)


@pytest.mark.parametrize(("before", "wanted"), [(POOR, True), (GOOD, True), (FINE, False)])
def test_an_image_without_a_need_is_not_wanted(before: object, wanted: bool) -> None:
    assert Enhance(CONFIG, Wild()).wants(Sample(decoded=IMAGE, before=before)) is wanted  # type: ignore[arg-type]
