"""Stages in a row: one bad sample fails alone, the others as if it were not there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qrefine.sample import Sample
from qrefine.stages.stage import Step, guarded, run_stages
from tests.support import photo

IMAGE = photo(size=16)


class Picky:
    """Fails on prompts that say so; wants those that do not say 'skip'."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or ValueError("boom")
        self.batches: list[list[str | None]] = []

    def wants(self, sample: Sample) -> bool:
        return sample.prompt != "skip"

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        self.batches.append([sample.prompt for sample in samples])
        if any(sample.prompt == "bad" for sample in samples):
            raise self.error
        return [sample.changed(sample.image, "picky") for sample in samples]


def batch(*prompts: str) -> list[Sample]:
    return [Sample(decoded=IMAGE, prompt=prompt) for prompt in prompts]


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
    done = run_stages([stage], samples)
    assert stage.batches == [["a"]]
    assert done[0] is samples[0]
    assert done[2] is samples[2]
    assert [sample.stages for sample in done] == [(), ("picky",), ()]


def test_failed_samples_are_given_to_no_stage_again() -> None:
    first, second = Picky(), Picky()
    broken = Sample(decoded=IMAGE, prompt="a", error="broken before")
    done = run_stages([first, second], [broken, *batch("b", "bad")])
    assert first.batches == [["b", "bad"], ["b"], ["bad"]]
    assert second.batches == [["b"]]
    assert done[0] is broken
    assert [sample.stages for sample in done] == [(), ("picky", "picky"), ()]


def test_nothing_wanted_is_no_call_at_all() -> None:
    stage = Picky()
    steps: list[Step] = []
    assert run_stages([stage], [], steps.append) == []
    assert len(run_stages([stage], batch("skip"), steps.append)) == 1
    assert (stage.batches, steps) == ([], [])


def test_each_call_of_a_stage_is_told_with_its_samples_and_seconds() -> None:
    steps: list[Step] = []
    times = iter([1.0, 1.5, 2.0, 4.0])
    done = run_stages([Picky(), Forgetful()], batch("a", "skip", "b"), steps.append, lambda: next(times))
    assert [(step.stage, step.seconds) for step in steps] == [("picky", 0.5), ("forgetful", 2.0)]
    assert [sample.prompt for sample in steps[0].samples] == ["a", "b"]
    assert steps[1].samples == [done[0], done[2]]


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
