"""From measured samples to a whole corpus, with 95 % intervals by the bootstrap.

Each replicate resamples the shards that were read, and the samples within them. A sample on one machine does not
show how busy a stream keeps its actors; EFFICIENCY is the range that was observed, and is applied to the time of
each replicate. Where none (or all) of the samples needed a stage, the bootstrap predicts that none (or all) ever
will; shares are therefore widened to Wilson's interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qrefine.corpus.listing import Shard
from qrefine.plan.measure import Measured, Measurement
from qrefine.plan.sampling import ShardSample
from qrefine.table.schema import STATUSES

REPLICATES = 2000
COVERAGE = 0.95
EFFICIENCY = (0.75, 0.92, 1.0)  # lowest, likely, highest: images/s of a stream over its actors' own
CLUSTERS = (1, 2, 4, 8, 16, 32, 64)  # actors: GPUs, or CPUs where there are none


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Plan:
    """What a run is expected to do. Hours are GPU-hours if ``unit`` is ``GPU``, else CPU-hours."""

    shards: int
    shards_read: int
    sampled: int
    unit: str
    device: str
    images: Estimate
    needs: dict[str, Estimate]  # share of images that need each stage
    statuses: dict[str, Estimate]  # share refined, kept, failed
    stage_seconds: dict[str, Estimate]  # mean over the images that it ran on
    stage_pixels: dict[str, Estimate]  # that its model is given, mean over the same images
    hours: Estimate
    bytes_out: Estimate
    wall_seconds: dict[int, Estimate]  # by number of actors
    cost: Estimate | None
    salvage: Any = None  # of `plan.salvage`, where a bar was given

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def predict(
    shards: Sequence[Shard],
    read: Sequence[ShardSample],
    measurement: Measurement,
    *,
    gpu_price: float | None = None,
    seed: int = 0,
) -> Plan:
    """Extrapolate; ``read`` are the shards that were sampled, in the order of the measurement's strata."""
    on_gpu = measurement.gpu is not None
    rng = np.random.default_rng([seed, 1])
    point, draws = replicates(shards, read, measurement, seed)
    efficiency = rng.triangular(*EFFICIENCY, size=REPLICATES)

    def estimate(of: Of) -> Estimate:
        return estimate_of(of(point), np.array([of(draw) for draw in draws]))

    def images(draw: Draw) -> float:
        return corpus_images(shards, draw)

    def seconds(draw: Draw) -> float:
        # with GPUs the writers encode, on CPUs that are idle otherwise
        return images(draw) * draw.mean(lambda m: m.total - (m.seconds.get("encode", 0.0) if on_gpu else 0.0))

    def share(of: Callable[[Measured], float]) -> Estimate:
        found = estimate(lambda draw: draw.mean(of))
        low, high = wilson(found.value, len(measurement.samples))
        return Estimate(found.value, min(low, found.low), max(high, found.high))

    def need(stage: str) -> Estimate:
        return share(lambda m: stage in m.needed)

    def status(name: str) -> Estimate:
        return share(lambda m: m.status == name)

    def each(stage: str) -> Of:
        return lambda draw: draw.mean_where(stage, lambda m: m.seconds.get(stage, 0.0))

    def pixels(stage: str) -> Of:
        return lambda draw: draw.mean_where(stage, lambda m: m.fed.get(stage, 0))

    work = np.array([seconds(draw) for draw in draws]) / efficiency
    mean_work = seconds(point) / EFFICIENCY[1]
    hours = estimate_of(mean_work / 3600, work / 3600)
    stages = list(dict.fromkeys(stage for m in measurement.samples for stage in m.seconds))
    return Plan(
        shards=len(shards),
        shards_read=len(read),
        sampled=len(measurement.samples),
        unit="GPU" if on_gpu else "CPU",
        device=measurement.gpu or "CPU",
        images=estimate(images),
        needs={stage: need(stage) for stage in measurement.stages},
        statuses={name: status(name) for name in STATUSES},
        stage_seconds={stage: estimate(each(stage)) for stage in stages},
        stage_pixels={
            stage: estimate(pixels(stage)) for stage in stages if any(stage in m.fed for m in measurement.samples)
        },
        hours=hours,
        bytes_out=estimate(lambda d: images(d) * (d.mean(lambda m: m.bytes_out) + measurement.row_bytes)),
        wall_seconds={
            actors: estimate_of(
                measurement.load_seconds + mean_work / actors, measurement.load_seconds + work / actors
            )
            for actors in CLUSTERS
        },
        cost=None
        if gpu_price is None or not on_gpu
        else Estimate(*(gpu_price * v for v in (hours.value, hours.low, hours.high))),
    )


def replicates(
    shards: Sequence[Shard], read: Sequence[ShardSample], measurement: Measurement, seed: int
) -> tuple[Draw, list[Draw]]:
    """The sample itself, and its bootstrap replicates."""
    by_shard = [[m for m in measurement.samples if m.stratum == k] for k in range(len(read))]
    everything = len(read) == len(shards)
    rng = np.random.default_rng(seed)
    draws = [_draw(rng, read, by_shard, resample=True, all_shards=everything) for _ in range(REPLICATES)]
    return _draw(rng, read, by_shard, resample=False, all_shards=everything), draws


@dataclass(frozen=True)
class Draw:
    """Samples with their weights, and the shards they stand for."""

    samples: tuple[Measured, ...]
    weights: NDArray[np.float64]
    read: tuple[ShardSample, ...]

    def mean(self, of: Callable[[Measured], float]) -> float:
        values = np.array([of(m) for m in self.samples], dtype=np.float64)
        return float((values * self.weights).sum() / self.weights.sum())

    def mean_where(self, stage: str, of: Callable[[Measured], float]) -> float:
        """Mean over the samples that the stage ran on; 0 where there are none."""
        ran = np.array([stage in m.seconds for m in self.samples])
        weight = self.weights * ran
        if not weight.sum():
            return 0.0
        return float((np.array([of(m) for m in self.samples]) * weight).sum() / weight.sum())


Of = Callable[[Draw], float]


def _draw(
    rng: np.random.Generator,
    read: Sequence[ShardSample],
    by_shard: Sequence[Sequence[Measured]],
    *,
    resample: bool,
    all_shards: bool,
) -> Draw:
    """A bootstrap replicate, or the sample itself; a shard's weights add up to its number of samples."""
    chosen = list(range(len(read)))
    if resample and not all_shards:
        chosen = rng.integers(len(read), size=len(read)).tolist()
    samples: list[Measured] = []
    weights: list[float] = []
    for k in chosen:
        members = by_shard[k]
        picked = rng.integers(len(members), size=len(members)) if resample else range(len(members))
        samples += [members[int(p)] for p in picked]
        weights += [read[k].count / len(members)] * len(members)
    return Draw(tuple(samples), np.array(weights), tuple(read[k] for k in chosen))


def corpus_images(shards: Sequence[Shard], draw: Draw) -> float:
    """Samples of the corpus: counted where all shards were read, else extrapolated by bytes, else by shards."""
    counts = [one.count for one in draw.read]
    if len(draw.read) == len(shards):
        return sum(counts)
    sizes = [one.shard.size for one in draw.read]
    total = [shard.size for shard in shards]
    if all(sizes) and all(size is not None for size in total):
        return sum(counts) * sum(size or 0 for size in total) / sum(size or 0 for size in sizes)
    return sum(counts) / len(counts) * len(shards)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share that was seen among ``count`` samples, at COVERAGE."""
    z = 1.96
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def estimate_of(value: float, replicates: NDArray[np.float64]) -> Estimate:
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
