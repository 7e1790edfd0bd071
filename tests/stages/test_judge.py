"""Judges report beside the scores: they decide nothing, fail nothing, and see each image once."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from qrefine.api import scoring
from qrefine.config import load_config
from qrefine.quality.map import Image
from qrefine.sample import Sample
from qrefine.stages.judge import Judge
from qrefine.stages.refiner import MODEL_STAGES, Refiner, build_stages
from qrefine.stages.stage import run_stages
from tests.stages.backends import quality
from tests.support import PLAIN, noisy, photo

ALL = load_config(None, ["judges_on=all"])
REFINED = load_config(None, [])
SOURCE, NEW = photo(size=24), photo("coffee", 24)
KEPT = Sample(decoded=SOURCE, before=quality([[0.9]]))
CHANGED = KEPT.changed(NEW, "inpaint")


def mean(image: Image) -> float:
    return float(image.mean())


def broken(image: Image) -> float:
    raise KeyError("no weights")


@pytest.mark.parametrize(("config", "kept"), [(ALL, True), (REFINED, False)])
def test_which_rows_are_judged_is_a_setting(config: object, kept: bool) -> None:
    judge = Judge(config, {"mean": mean})  # type: ignore[arg-type]
    assert judge.wants(KEPT) is kept
    assert judge.wants(KEPT.kept("no_gain")) is kept  # acceptance refused it: it is an image like others
    assert judge.wants(CHANGED)
    assert not judge.wants(judge([CHANGED])[0])


def test_a_kept_image_is_scored_once_and_a_refined_one_twice() -> None:
    seen: list[Image] = []

    def judge(image: Image) -> float:
        seen.append(image)
        return float(image.mean())

    kept, changed = Judge(ALL, {"a": judge, "b": judge})([KEPT, CHANGED])
    assert kept.judgements == ((SOURCE.mean(), SOURCE.mean()),) * 2
    assert changed.judgements == ((SOURCE.mean(), NEW.mean()),) * 2
    assert len(seen) == 2 * (1 + 2)


@pytest.mark.parametrize(
    ("judge", "kind"),
    [(broken, "KeyError"), (lambda image: math.nan, "ArithmeticError"), (lambda image: "good", "TypeError")],
)
def test_a_judge_that_fails_loses_nothing_but_its_score(judge: Callable[[Image], float], kind: str) -> None:
    done = Judge(ALL, {"a": judge, "mean": mean})([CHANGED])[0]
    assert done.error is None
    assert done.status == "refined"
    assert np.isnan(done.judgements[0]).all()
    assert done.judgements[1] == (SOURCE.mean(), NEW.mean())
    assert done.notes == (f"judge a gave no score: {kind}",)


def test_a_judge_of_any_range_decides_nothing() -> None:
    image = noisy(photo(size=96))
    plain = Refiner.from_config(None, [*PLAIN, "judges=[]"])([image])[0]
    judged = Refiner.from_config(None, [*PLAIN, f"judges=['{__name__}:terrible']", "judges_on=all"])([image])[0]
    assert np.array_equal(plain.image, judged.image)
    assert plain.status == judged.status
    assert judged.judgements[f"{__name__}:terrible"][0] == -1e9


def terrible(image: Image) -> float:
    return -1e9


def test_scoring_is_the_map_and_the_judges_alone() -> None:
    config = scoring(load_config(None, [*PLAIN, "judges=[piqe]"]))
    stages = build_stages(MODEL_STAGES, config)
    assert [type(stage).__name__ for stage in stages] == ["Map", "Judge"]
    done = run_stages(stages, [Sample(decoded=noisy(photo(size=64)))])[0]
    assert done.status == "kept"
    assert done.before is not None
    assert len(done.judgements) == 1
