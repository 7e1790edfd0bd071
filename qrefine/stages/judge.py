"""Judges: metrics beside the deciding score. They see finished images, decide nothing, and fail no sample."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qrefine.config import RefineConfig
from qrefine.quality.map import Image
from qrefine.sample import Sample

log = logging.getLogger(__name__)

JudgeOf = Callable[[Image], float]
"""One RGB image (h, w, 3) uint8 in, one score out, of any range."""


class Judge:
    """Scores by each of the ``judges``, before and after; of a kept image the two are one score.

    ``judges_on: refined`` leaves kept images out. Where a judge gives no finite number the score is NaN, which is
    null in the table, and a note of the sample says so.
    """

    def __init__(self, config: RefineConfig, judges: Mapping[str, JudgeOf]) -> None:
        self.config, self.judges = config, dict(judges)

    def wants(self, sample: Sample) -> bool:
        if sample.judgements or not self.judges:
            return False
        return self.config.judges_on == "all" or sample.refined is not None

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        return [self._judged(sample) for sample in samples]

    def _judged(self, sample: Sample) -> Sample:
        pairs, notes = [], list(sample.notes)
        for name, judge in self.judges.items():
            pair, failed = score_pair(judge, sample.image, sample.pixels)
            pairs.append(pair)
            if failed:
                notes.append(f"judge {name} gave no score: {failed}")
        return replace(sample, judgements=tuple(pairs), notes=tuple(notes))


def score_pair(judge: JudgeOf, before: Image, after: Image) -> tuple[tuple[float, float], str]:
    """A judge's scores of both images, and the kind of its error or an empty text; an image is scored once."""
    try:
        first = _finite(judge(before))
        return (first, first if after is before else _finite(judge(after))), ""
    except Exception as error:  # judges are anybody's code
        log.debug("a judge failed", exc_info=True)
        return (math.nan, math.nan), type(error).__name__


def _finite(score: float) -> float:
    if not math.isfinite(score):
        raise ArithmeticError(f"the score is {score}")
    return float(score)
