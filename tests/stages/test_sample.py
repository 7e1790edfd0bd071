"""Stages on samples: one bad sample fails alone, the others as if it were not there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from qrefine.config import sample_seed
from qrefine.stages.sample import Sample, guarded
from tests.conftest import photo
from tests.stages.backends import quality

IMAGE = photo(size=16)


class Picky:
    """Fails on prompts that say so; wants those that do not say 'skip'."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or ValueError("boom")
        self.batches: list[list[str]] = []

    def wants(self, sample: Sample) -> bool:
        return sample.prompt != "skip"

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        self.batches.append([sample.prompt for sample in samples])
        if any(sample.prompt == "bad" for sample in samples):
            raise self.error
        return [sample.changed(sample.image, "picky") for sample in samples]


def batch(*prompts: str) -> list[Sample]:
    return [Sample(IMAGE, prompt) for prompt in prompts]


def test_a_good_batch_is_one_call_in_the_same_order() -> None:
    stage = Picky()
    done = guarded(stage, batch("a", "b", "c"))
    assert [sample.prompt for sample in done] == ["a", "b", "c"]
    assert stage.batches == [["a", "b", "c"]]


@pytest.mark.parametrize(
    "error", [ValueError("boom"), MemoryError("boom"), AssertionError("boom"), KeyError("boom")]
)
def test_one_bad_sample_fails_alone_and_with_its_reason(error: Exception) -> None:
    done = guarded(Picky(error), batch("a", "bad", "b", "bad"))
    assert [sample.stages for sample in done] == [("picky",), (), ("picky",), ()]
    assert [bool(sample.error) for sample in done] == [False, True, False, True]
    assert (done[1].error or "").startswith(f"{type(error).__name__} in picky: ")
    assert "boom" in (done[1].error or "")


def test_what_a_stage_does_not_want_passes_by_untouched() -> None:
    stage = Picky()
    samples = batch("skip", "a", "skip")
    done = guarded(stage, samples)
    assert stage.batches == [["a"]]
    assert done[0] is samples[0]
    assert done[2] is samples[2]


def test_failed_samples_are_given_to_no_stage_again() -> None:
    stage = Picky()
    done = guarded(stage, [Sample(IMAGE, "a", error="broken before"), *batch("b")])
    assert stage.batches == [["b"]]
    assert done[0].error == "broken before"


def test_nothing_wanted_is_no_call_at_all() -> None:
    stage = Picky()
    assert guarded(stage, []) == []
    assert len(guarded(stage, batch("skip"))) == 1
    assert stage.batches == []


def test_an_interruption_is_no_samples_fault() -> None:
    class Interrupted(Picky):
        def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(Interrupted(), batch("a", "b"))


class Forgetful(Picky):
    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        return super().__call__(samples)[:-1]


def test_a_stage_that_loses_a_sample_costs_errors_and_no_rows() -> None:
    done = guarded(Forgetful(), batch("a", "b"))
    assert len(done) == 2
    assert all("forgetful" in (sample.error or "") for sample in done)


def test_seeds_come_from_key_and_configuration_alone() -> None:
    assert sample_seed("a", 0) == sample_seed("a", 0)
    seeds = {sample_seed(key, seed) for key in ("a", "b", "dir/a", "") for seed in (0, 1, 2**31 - 1)}
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_seed_is_the_same_in_every_release() -> None:
    # rows in users' tables carry it: a change here makes them irreproducible
    assert sample_seed("000123", 7) == 6533228578009362457


def test_pixels_are_the_sources_until_something_changes_them() -> None:
    sample = Sample(IMAGE)
    assert sample.pixels is IMAGE
    new = np.zeros_like(IMAGE)
    changed = sample.changed(new, "noise").changed(new, "inpaint")
    assert changed.pixels is new
    assert changed.stages == ("noise", "inpaint")
    assert sample.pixels is IMAGE


def test_asking_for_a_map_that_is_not_there_says_which_stage_is_missing() -> None:
    with pytest.raises(ValueError, match="run the map stage first"):
        _ = Sample(IMAGE).quality
    assert Sample(IMAGE, before=quality([[0.5]])).quality.score == 0.5
