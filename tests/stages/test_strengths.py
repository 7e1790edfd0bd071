"""Which stages share a pass, and how strong it is."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.config import load_config
from qrefine.sample import Sample
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.refiner import Refiner
from qrefine.stages.strengths import enhance_work, inpaint_strength, inpaint_work
from tests.stages.backends import Wild, quality
from tests.support import PLAIN, noisy, photo

POOR = quality([[0.1, 0.5], [0.75, 0.9]])  # q = 0.56 < B_HQ
GOOD = quality([[0.65, 1.0], [1.0, 1.0]])
BOTH = ("inpaint", "enhance_blind")


class WildAtOnce(Wild):
    """One network in one pass."""

    one_pass = True


def work(restorer: Wild, *overrides: str, before: object = POOR) -> tuple[np.ndarray, tuple[str, ...]]:
    config = load_config(None, list(overrides))
    return inpaint_work(config, before, restorer, 48, 40)  # type: ignore[arg-type, return-value]


def test_one_network_for_both_works_once_by_the_greater_strength() -> None:
    plane, stages = work(WildAtOnce())
    config = load_config(None, [])
    inpaint = inpaint_strength(config, POOR, 48, 40)
    enhance = enhance_work(config, POOR, 48, 40, blind=True).strength
    assert stages == BOTH
    np.testing.assert_array_equal(plane, np.maximum(inpaint, enhance))
    assert (plane > inpaint).any()  # between B_MQ and B_HQ only stage 3 acts
    assert (plane > enhance).any()


@pytest.mark.parametrize(
    "overrides",
    [
        ("mode=paper",),
        ("stages=[inpaint]",),
        ("enhance.blind.name=classical",),
        ("enhance.blind.options={tile: 512}",),
        ("inpaint.weights=other.safetensors",),
    ],
)
def test_else_stage_2_does_its_own_work_alone(overrides: tuple[str, ...]) -> None:
    plane, stages = work(WildAtOnce(), *overrides)
    assert stages == ("inpaint",)
    np.testing.assert_array_equal(plane, inpaint_strength(load_config(None, list(overrides)), POOR, 48, 40))


def test_a_network_that_draws_or_follows_prompts_is_asked_twice() -> None:
    assert work(Wild())[1] == ("inpaint",)


def test_what_is_enhanced_by_its_prompt_is_not_enhanced_blindly() -> None:
    guided = "enhance.prompt.name=classical"
    assert work(WildAtOnce(), guided, before=GOOD)[1] == ("inpaint",)
    assert work(WildAtOnce(), guided, before=POOR)[1] == BOTH
    assert work(WildAtOnce(), before=GOOD)[1] == ("inpaint", "enhance_prompt")


def test_a_refiner_asks_such_a_network_once_and_tells_both_stages() -> None:
    refiner = Refiner(load_config(None, [*PLAIN, "accept.min_gain=0"]))
    inpaint = next(stage for stage in refiner.stages if isinstance(stage, Inpaint))
    calls = []
    once = inpaint.restorer

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return once(*arguments)  # type: ignore[arg-type]

    counted.context, counted.one_pass = once.context, True  # type: ignore[attr-defined]
    for stage in refiner.stages[2:4]:
        for name in ("restorer", "blind"):
            if hasattr(stage, name):
                setattr(stage, name, counted)
    result = refiner([noisy(photo(size=192))])[0]
    assert result.status == "refined"
    assert result.stages == BOTH
    assert len(calls) == 1


def test_no_pixel_of_high_quality_changes_in_a_pass_for_both() -> None:
    config = load_config(None, [])
    sample = Sample(decoded=photo("chelsea", 48), before=POOR)
    done = Inpaint(config, WildAtOnce())([sample])[0]
    plane = inpaint_work(config, POOR, WildAtOnce(), 48, 48).strength
    assert done.stages == BOTH
    assert np.array_equal(done.pixels[plane == 0], sample.image[plane == 0])
    assert (done.pixels[plane > 0] != sample.image[plane > 0]).any()
