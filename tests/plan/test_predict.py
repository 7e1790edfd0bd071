"""The bootstrap on made-up corpora whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.corpus.listing import Shard
from qrefine.plan import predict as module
from qrefine.plan.measure import Measured, Measurement
from qrefine.plan.predict import predict, wilson
from qrefine.plan.sampling import ShardSample, choose_shards
from qrefine.sample import Sample

ROWS = 100


def corpus(rng: np.random.Generator, shards: int) -> list[list[Measured]]:
    """Shards that differ: in each another share of images needs inpainting."""
    population = []
    for k in range(shards):
        share = rng.uniform(0.2, 0.8)
        rows = []
        for needs in rng.uniform(size=ROWS) < share:
            seconds = {"map": 0.1, **({"inpaint": float(rng.gamma(4, 0.5))} if needs else {})}
            rows.append(Measured(k, "refined" if needs else "kept", set(seconds), seconds, 1000))
        population.append(rows)
    return population


def sampled(
    population: list[list[Measured]], rng: np.random.Generator, most: int, each: int, gpu: str | None = None
) -> tuple[list[Shard], list[ShardSample], Measurement]:
    shards = [Shard(f"{k:03d}", ROWS * 1000) for k in range(len(population))]
    chosen = choose_shards(shards, most, int(rng.integers(2**31)))
    read = [ShardSample(shard, ROWS, True, (Sample(shard.url, 0, "k"),)) for shard in chosen]
    drawn = []
    for stratum, shard in enumerate(chosen):
        for position in rng.choice(ROWS, each, replace=False):
            one = population[int(shard.url)][position]
            drawn.append(Measured(stratum, one.status, one.needed, one.seconds, one.bytes_out))
    return shards, read, Measurement(tuple(drawn), ("map", "inpaint"), 3.0, 50.0, gpu)


def test_intervals_cover_the_truth_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLICATES", 200)
    monkeypatch.setattr(module, "EFFICIENCY", (0.999, 1.0, 1.0))
    rng = np.random.default_rng(0)
    covered = {"need": 0, "hours": 0}
    trials = 60
    for trial in range(trials):
        population = corpus(rng, shards=40)
        everyone = [one for rows in population for one in rows]
        plan = predict(*sampled(population, rng, most=12, each=6), seed=trial)
        need = np.mean(["inpaint" in one.needed for one in everyone])
        hours = sum(one.total for one in everyone) / 3600
        covered["need"] += plan.needs["inpaint"].low <= need <= plan.needs["inpaint"].high
        covered["hours"] += plan.hours.low <= hours <= plan.hours.high
        assert plan.images.value == len(everyone)
    assert all(count >= 0.85 * trials for count in covered.values()), covered


def test_images_are_counted_by_bytes_where_not_all_shards_were_read() -> None:
    rng = np.random.default_rng(1)
    shards, read, measurement = sampled(corpus(rng, 10), rng, most=5, each=4)
    double = [Shard(shard.url, 2 * (shard.size or 0)) for shard in shards]
    assert predict(double, read, measurement).images.value == pytest.approx(2 * 10 * ROWS)
    unknown = [Shard(shard.url, None) for shard in shards]
    assert predict(unknown, read, measurement).images.value == pytest.approx(10 * ROWS)


def test_a_cost_needs_a_gpu_and_a_price() -> None:
    rng = np.random.default_rng(2)
    population = corpus(rng, 4)
    on_gpu = predict(*sampled(population, rng, 4, 8, gpu="NVIDIA H100"), gpu_price=2.5)
    assert on_gpu.unit == "GPU"
    assert on_gpu.cost is not None
    assert on_gpu.cost.value == pytest.approx(2.5 * on_gpu.hours.value)
    on_cpu = predict(*sampled(population, rng, 4, 8), gpu_price=2.5)
    assert (on_cpu.unit, on_cpu.cost) == ("CPU", None)


def test_encoding_costs_no_gpu() -> None:
    shards, read = [Shard("0", 1)], [ShardSample(Shard("0", 1), ROWS, True, ())]
    one = Measured(0, "refined", {"map"}, {"map": 2.0, "encode": 1.0}, 1)
    gpu, cpu = (
        predict(shards, read, Measurement((one,) * 8, ("map",), 0.0, 0.0, name)) for name in ("H100", None)
    )
    assert cpu.hours.value == pytest.approx(1.5 * gpu.hours.value)


def test_more_actors_take_less_time_and_models_load_once_each() -> None:
    rng = np.random.default_rng(3)
    plan = predict(*sampled(corpus(rng, 4), rng, 4, 8))
    one, two = plan.wall_seconds[1], plan.wall_seconds[2]
    assert two.value - 3.0 == pytest.approx((one.value - 3.0) / 2)
    assert one.low < one.value < one.high
    assert plan.bytes_out.value == pytest.approx(400 * 1050)


def test_what_no_sample_needed_may_still_be_needed() -> None:
    shards, read = [Shard("0", 1)], [ShardSample(Shard("0", 1), ROWS, True, ())]
    kept = Measured(0, "kept", {"map"}, {"map": 1.0}, 1)
    plan = predict(shards, read, Measurement((kept,) * 24, ("map", "inpaint"), 0.0, 0.0, None))
    need = plan.needs["inpaint"]
    assert (need.value, need.low) == (0, 0)
    assert need.high == pytest.approx(0.138, abs=0.001)  # Wilson's for 0 of 24
    assert plan.statuses["kept"].low == pytest.approx(1 - 0.138, abs=0.001)
    assert "inpaint" not in plan.stage_seconds


@pytest.mark.parametrize(("share", "count", "low", "high"), [(0.5, 10, 0.237, 0.763), (1.0, 10, 0.722, 1.0)])
def test_wilson(share: float, count: int, low: float, high: float) -> None:
    assert wilson(share, count) == (pytest.approx(low, abs=0.001), pytest.approx(high, abs=0.001))
