"""4. Quality-aware saving: refining only what needs it against refining everything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, say
from benchmarks.options import Options
from benchmarks.runs import steady
from qrefine.api import refine
from qrefine.config import RefineConfig, parse_config
from qrefine.corpus.images import decode
from qrefine.corpus.shards import read_shard
from qrefine.models.judges.piqe import piqe_score
from qrefine.quality.map import Image
from qrefine.sample import Sample
from qrefine.stages.refiner import MODEL_STAGES, Refiner, build_stages
from qrefine.stages.stage import run_stages

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARDS = 4
GOALS = {0.25: "3"}
JUDGED = 4  # images per share that PIQE scores, with either method


def everything_alike() -> RefineConfig:
    """Bounds of 1: every image is refined over its whole area, and the result kept if it is better."""
    bounds = {"lq": 0.4, "mq": 1.0, "hq": 1.0}
    return parse_config({"bounds": bounds, "judges": [], "accept": {"min_gain": 0.0, "tolerance": 1.0}})


def left_alone(config: RefineConfig) -> Callable[[Image], bool]:
    """A test whether a run would not change an image, so that a corpus with 0 % in need really has 0 %."""
    stages = build_stages(MODEL_STAGES, config)

    def fine(image: Image) -> bool:
        mapped = run_stages(stages[:1], [Sample(decoded=image)])[0]
        return not any(stage.wants(mapped) for stage in stages)

    return fine


def run(options: Options) -> list[Figure]:
    """Images/s with a quality map over images/s without, by the share in need; with PIQE (lower is better)."""
    side, fine = options.of(512, 96), left_alone(RefineConfig(judges=()))
    ways = {"aware": RefineConfig(judges=()), "alike": everything_alike()}
    figures = []
    for share in (0.5,) if options.tiny else SHARES:
        shards = write_corpus(
            options.folder / f"needy-{share:g}", shards=SHARDS, samples=options.of(24, 4), side=side, needy=share,
            photos=options.photos, fine=fine,
        )  # fmt: skip
        rates = {}
        for way, config in ways.items():
            table = options.folder / f"{way}-{share:g}"
            refine(shards, str(table), config)
            (rates[way],) = steady(table, lambda part: (pq.read_metadata(part).num_rows,), since=0.25)
        say(f"{share:.0%} in need: {rates}")
        judged = [_piqe(shards[0], config, options.of(JUDGED, 1)) for config in ways.values()]
        figures.append(
            Figure(
                f"refining what needs it / everything alike, {share:.0%} in need",
                rates["aware"] / rates["alike"], "x", GOALS.get(share, ""),
                f"{rates['aware']:.1f}, {rates['alike']:.1f} images/s; PIQE {judged[0]:.1f}, {judged[1]:.1f}",
            )
        )  # fmt: skip
    return figures


def _piqe(shard: str, config: RefineConfig, count: int) -> float:
    """Mean PIQE of a shard's first images after refinement."""
    raw = [sample.source for sample in read_shard(shard, config.images) if sample.source is not None][:count]
    results = Refiner(config)([decode(data, config.images) for data in raw])
    return float(np.mean([piqe_score(result.image) for result in results]))
