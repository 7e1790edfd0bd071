"""One image on its way through the stages, and what a stage is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from qrefine.quality.map import Image, QualityMap

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """An image and what the stages found and did; stages give new samples and change none."""

    image: Image
    prompt: str = ""
    seed: int = 0
    before: QualityMap | None = None
    refined: Image | None = None  # the pixels as they are now; None while nothing changed them
    stages: tuple[str, ...] = ()  # what changed them, in order
    after: QualityMap | None = None  # set when a refined image was accepted
    judgements: tuple[tuple[float, float], ...] = ()  # before and after, one pair per judge
    error: str | None = None  # why the sample failed; the stages that follow let it pass

    @property
    def pixels(self) -> Image:
        """The image as it is now."""
        return self.image if self.refined is None else self.refined

    @property
    def quality(self) -> QualityMap:
        """The map before refinement; a ValueError where the sample was not mapped yet."""
        if self.before is None:
            raise ValueError("the sample has no quality map yet: run the map stage first")
        return self.before

    def changed(self, pixels: Image, *stages: str) -> Sample:
        return replace(self, refined=pixels, stages=(*self.stages, *stages))


class Stage(Protocol):
    """A batch of samples in, the same samples out, in the same order.

    It is given only the samples that it ``wants``, which it tells without looking at pixels, so that the others
    need not even be decoded. What it makes of a sample must not depend on the others of the batch.
    """

    def wants(self, sample: Sample) -> bool: ...

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]: ...


def concerned(stage: Stage, samples: Sequence[Sample]) -> list[int]:
    """Positions of the samples that a stage works on."""
    return [i for i, sample in enumerate(samples) if sample.error is None and stage.wants(sample)]


def guarded(stage: Stage, samples: Sequence[Sample]) -> list[Sample]:
    """Run a stage on the samples that it wants; an error becomes data on the sample that caused it.

    Where a batch fails, its samples run one by one, so that only the culprit is lost.
    """
    todo = concerned(stage, samples)
    done = list(samples)
    if not todo:
        return done
    try:
        results = stage([samples[i] for i in todo])
        if len(results) != len(todo):
            raise ValueError(f"{len(results)} samples came back of {len(todo)}")
    except Exception as error:  # whatever a model or an image throws
        if len(todo) > 1:
            results = [guarded(stage, [samples[i]])[0] for i in todo]
        else:
            log.debug("%s failed", type(stage).__name__, exc_info=True)
            reason = (
                f"{type(error).__name__} in {type(stage).__name__.lower()}: {error}"  # kind first: it is counted
            )
            results = [replace(samples[todo[0]], error=reason)]
    for i, result in zip(todo, results, strict=True):
        done[i] = result
    return done
