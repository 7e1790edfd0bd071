"""Bounds for a mapper as quantiles of what it says of a corpus, where its scores mean nothing by themselves.

Scores of other networks cluster elsewhere than those of the embedded one, for which the default bounds are made.
The mapper of the settings, or each of several, scores a sample of the corpus; a bound is then proposed so that a
chosen share of the corpus lies below it. A quantile calls some of every corpus poor, also of one without a flaw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from qrefine.config import Bounds, RefineConfig
from qrefine.errors import UserError
from qrefine.models.mappers.worst import WORST, WorstMapper
from qrefine.models.registry import load_mapper
from qrefine.plan.sampling import sample_corpus
from qrefine.quality.map import Mapper, QualityMap
from qrefine.stages.refiner import Map
from qrefine.work.process import process

LQ_AREA, MQ_AREA, HQ_IMAGES = 0.05, 0.15, 0.3
"""Most of the area below B_LQ and below B_MQ, and of the images below B_HQ."""

SHOWN = (0.01, 0.05, 0.1, 0.15, 0.25, 0.5)
"""Quantiles that are printed, to choose others by."""

DIGITS = 4


@dataclass(frozen=True)
class Scores:
    """What one mapper said of a sample: Q of each patch, q of each image, each with the share it stands for."""

    name: str
    patches: NDArray[np.float64]
    areas: NDArray[np.float64]
    images: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def bounds(self) -> Bounds:
        """The proposal; B_HQ is at least B_MQ."""
        lq, mq = (quantile(self.patches, self.areas, share) for share in (LQ_AREA, MQ_AREA))
        return Bounds(lq=lq, mq=mq, hq=max(mq, quantile(self.images, self.weights, HQ_IMAGES)))


def calibrate(
    inputs: Sequence[str],
    config: RefineConfig,
    *,
    samples: int = 64,
    seed: int = 0,
    notify: Callable[[int], None] = lambda count: None,
) -> list[Scores]:
    """Score a sample with the settings' mapper, each of several apart. UserError where nothing can be scored."""
    members = _members(config)
    _, read = sample_corpus(inputs, config, samples, seed)
    drawn = [(sample, one.count / len(one.drawn)) for one in read for sample in one.drawn]
    found: list[list[tuple[QualityMap, float]]] = [[] for _ in members]
    size = config.stream.batch_size
    for start in range(0, len(drawn), size):
        batch = drawn[start : start + size]
        for scored, (_, mapper) in zip(found, members, strict=True):
            done = process([sample for sample, _ in batch], [Map(mapper)], config)
            scored += [(s.before, weight) for s, (_, weight) in zip(done, batch, strict=True) if s.before]
            if not scored and start + size >= len(drawn):
                raise UserError(f"none of the {len(drawn)} samples could be scored: {done[-1].error}")
        notify(len(batch))
    return [_scores(name, scored) for (name, _), scored in zip(members, found, strict=True)]


def _members(config: RefineConfig) -> list[tuple[str, Mapper]]:
    """The mappers that need bounds, each with its name."""
    mapper = load_mapper(config.mapper, bounds=config.bounds)
    if not isinstance(mapper, WorstMapper):
        return [(config.mapper.name, mapper)]
    return [(member.name, one) for member, one in zip(mapper.members, mapper.mappers, strict=True)]


def _scores(name: str, scored: Sequence[tuple[QualityMap, float]]) -> Scores:
    maps = [quality for quality, _ in scored]
    weights = np.array([weight for _, weight in scored])
    return Scores(
        name,
        np.concatenate([quality.values.ravel() for quality in maps]).astype(np.float64),
        np.concatenate([np.full(q.values.size, w / q.values.size) for q, w in zip(maps, weights, strict=True)]),
        np.array([quality.score for quality in maps]),
        weights,
    )


def quantile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The greatest of DIGITS decimals with at most ``share`` of the weight below it; values lie in [0, 1]."""
    order = np.argsort(values)
    below = np.concatenate([[0.0], np.cumsum(weights[order])[:-1]]) / weights.sum()
    allowed = float(values[order][np.flatnonzero(below <= share + 1e-9)[-1]])
    return math.floor(allowed * 10**DIGITS) / 10**DIGITS


def to_yaml(found: Sequence[Scores], config: RefineConfig) -> str:
    """The settings to paste, and as comments what else the sample says."""
    lines = [line for one in found for line in _told(one)]
    proposed = [one.bounds.model_dump() for one in found]
    if config.mapper.name != WORST:
        return "\n".join([*lines, _dumped({"bounds": proposed[0]})])
    options = config.mapper.options
    members = [{**given, "bounds": bounds} for given, bounds in zip(options["mappers"], proposed, strict=True)]
    mapper = config.mapper.model_copy(update={"options": {**options, "mappers": members}})
    return "\n".join([*lines, _dumped({"mapper": mapper.model_dump(mode="json", exclude_defaults=True)})])


def _told(one: Scores) -> list[str]:
    patches = "  ".join(f"{share:.0%} {quantile(one.patches, one.areas, share):.{DIGITS}f}" for share in SHOWN)
    images = "  ".join(f"{share:.0%} {quantile(one.images, one.weights, share):.{DIGITS}f}" for share in SHOWN)
    b = one.bounds
    lq, mq = (float(one.areas[one.patches < bound].sum() / one.areas.sum()) for bound in (b.lq, b.mq))
    hq = float(one.weights[one.images < b.hq].sum() / one.weights.sum())
    return [
        f"# {one.name}: {len(one.images)} images, {len(one.patches)} patches",
        f"# quantiles of Q  {patches}",
        f"# quantiles of q  {images}",
        f"# below these bounds: {lq:.1%} of the area is LQ, {mq:.1%} is inpainted; {hq:.1%} of images are not HQ",
    ]


def _dumped(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=10**6).rstrip()
