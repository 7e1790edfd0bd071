"""Decodes samples and runs the stages; every error is recorded on its sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from qrefine.config import RefineConfig, sample_seed
from qrefine.corpus.images import ImageError, read
from qrefine.sample import Sample
from qrefine.stages.stage import Stage, Step, Watch, run_stages, unwatched


def load(sample: Sample, stages: Sequence[Stage], config: RefineConfig) -> Sample:
    """The sample with its seed, decoded if one of the stages will want its pixels."""
    sample = replace(sample, seed=sample_seed(sample.key, config.seed, sample.draw))
    # before mapping every sample is wanted; afterwards the stages decide by the map
    if sample.error is not None or (sample.before is not None and not any(s.wants(sample) for s in stages)):
        return sample
    try:
        pixels, lost = read(sample.source or b"", config.images)
    except ImageError as error:
        return sample.failed(str(error))
    height, width = pixels.shape[:2]
    return replace(sample, decoded=pixels, size=(height, width), lost=lost)


def process(
    samples: Sequence[Sample],
    stages: Sequence[Stage],
    config: RefineConfig,
    watch: Watch = unwatched,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Sample]:
    """Decode the samples and run the stages in sequence; returns the same samples in the same order."""
    loaded = []
    for sample in samples:
        began = clock()
        loaded.append(load(sample, stages, config))
        watch(Step("decode", loaded[-1:], clock() - began))
    return run_stages(stages, loaded, watch, clock)
