"""The stage protocol, and running stages in sequence over a batch: an error is recorded on its sample."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from qrefine.errors import NotFiniteError
from qrefine.sample import Sample

log = logging.getLogger(__name__)


class Stage(Protocol):
    """A batch of samples in, the same samples out, in the same order.

    It gets only the samples that it ``wants``; ``wants`` does not look at pixels, so that other samples need not
    be decoded. The result for a sample must not depend on the other samples of the batch.
    """

    def wants(self, sample: Sample) -> bool: ...

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]: ...


class Step(NamedTuple):
    """One call of a stage: the resulting samples and the time it took."""

    stage: str
    samples: list[Sample]
    seconds: float


Watch = Callable[[Step], None]


def unwatched(step: Step) -> None:
    """A `Watch` that does nothing."""


def stage_name(stage: Stage) -> str:
    """``map``, ``noise``, ``inpaint``, ``enhance`` or ``accept``."""
    return type(stage).__name__.lower()


def run_stages(
    stages: Sequence[Stage],
    samples: Sequence[Sample],
    watch: Watch = unwatched,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Sample]:
    """The samples after all stages, in the same order; a failed one carries its error.

    ``watch`` is called after each stage that had samples to work on.
    """
    done = list(samples)
    for stage in stages:
        wanted = [i for i, sample in enumerate(done) if sample.error is None and stage.wants(sample)]
        if not wanted:
            continue
        began = clock()
        results = guarded(stage, [done[i] for i in wanted])
        watch(Step(stage_name(stage), results, clock() - began))
        for i, result in zip(wanted, results, strict=True):
            done[i] = result
    return done


def guarded(stage: Stage, samples: Sequence[Sample]) -> list[Sample]:
    """Run a stage on samples that it wants; if the batch fails, one by one: only the faulty sample fails."""
    try:
        results = stage(samples)
        if len(results) != len(samples):
            raise ValueError(f"{len(results)} samples came back of {len(samples)}")
        return results
    except Exception as error:  # models and images may raise anything
        if len(samples) > 1:
            return [guarded(stage, [sample])[0] for sample in samples]
        if isinstance(error, NotFiniteError):
            return [samples[0].kept("not_finite")]
        log.debug("%s failed", stage_name(stage), exc_info=True)
        # the kind comes first: errors are counted by the text before the colon
        return [samples[0].failed(f"{type(error).__name__} in {stage_name(stage)}: {error}")]
