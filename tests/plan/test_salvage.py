"""Salvage on made-up corpora whose truth is known: shares, costs, and the threshold that pays."""

from __future__ import annotations

import numpy as np
import pytest

from qrefine.corpus.units import Shard
from qrefine.plan import predict as module
from qrefine.plan.measure import Measured, Measurement
from qrefine.plan.salvage import Prices, Salvage, fate, plan_salvage
from qrefine.plan.sampling import ShardSample
from qrefine.sample import Sample

BAR = 0.8
SECONDS = 36.0  # of each attempt: a hundredth of an hour


@pytest.fixture(autouse=True)
def _few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLICATES", 200)


def one(before: float, after: float) -> Measured:
    spent = {"decode": 1.0, "map": 1.0} | ({"inpaint": SECONDS} if before < BAR else {})
    return Measured(0, "kept", set(spent), spent, 0, before, after)


def plan(members: list[Measured], prices: Prices | None = None, images: int = 1000) -> Salvage:
    shard = Shard("s", 1000)
    read = ShardSample(shard, images, True, (Sample("s", 0, "k"),) * len(members))
    return plan_salvage([shard], [read], Measurement(tuple(members), (), 0, 0, None), BAR, prices)


def members(keep: int, mild: int, bad: int) -> list[Measured]:
    return [one(0.9, 0.9)] * keep + [one(0.7, 0.85)] * mild + [one(0.3, 0.4)] * bad


def test_the_three_lines_are_all_images_and_their_prices() -> None:
    lines = plan(members(50, 30, 20), Prices(hour=10, regenerate=0.5)).lines
    assert [line.name for line in lines] == ["keep", "repair", "drop or regenerate"]
    assert [line.images.value for line in lines] == pytest.approx([500, 300, 200])
    assert sum(line.share.value for line in lines) == pytest.approx(1)
    keep, repair, drop = lines
    assert (keep.seconds, keep.cost) == (None, None)
    assert repair.seconds is not None
    assert repair.seconds.value == pytest.approx(SECONDS * 50 / 30)  # the attempts that fail are paid too
    assert repair.cost is not None
    assert repair.cost.value == pytest.approx(0.1 * 50 / 30)
    assert drop.cost is not None
    assert drop.cost.value == 0.5


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.5, 0.3, 0.2])
    held = np.zeros(3)
    trials = 60
    for _ in range(trials):
        lines = plan(members(*rng.multinomial(48, truth))).lines
        held += [line.share.low <= share <= line.share.high for line, share in zip(lines, truth, strict=True)]
    assert (held >= 0.88 * trials).all(), held


def test_what_cannot_be_repaired_is_not_tried_where_a_new_image_is_cheaper() -> None:
    mixed = members(50, 30, 20)  # an attempt costs 0.1
    advice = plan(mixed, Prices(hour=10, regenerate=0.5)).advice
    assert advice is not None
    assert advice.threshold == pytest.approx(0.7)  # the bad ones are regenerated at once
    assert advice.good.value == pytest.approx(1000)
    assert advice.cost.value == pytest.approx(300 * 0.1 + 200 * 0.5)
    cheap = plan(mixed, Prices(hour=10, regenerate=0.05)).advice
    assert cheap is not None
    assert cheap.threshold == BAR  # a new image is cheaper than any attempt
    assert cheap.cost.value == pytest.approx(500 * 0.05)


def test_a_budget_bounds_the_cost_and_the_threshold_with_most_images_wins() -> None:
    mixed = members(50, 30, 20)
    advice = plan(mixed, Prices(hour=10, budget=15)).advice
    assert advice is not None
    assert advice.threshold == pytest.approx(0.7)
    assert advice.good.value == pytest.approx(500 + 150)  # half of the mild ones
    assert advice.cost.value == pytest.approx(15)
    assert advice.cost.high <= 15 + 1e-9
    some = plan(mixed, Prices(hour=10, regenerate=0.5, budget=80)).advice
    assert some is not None
    assert some.good.value == pytest.approx(500 + 300 + 100)  # 30 for repairs; 50 buy a hundred new images


def test_nothing_below_the_bar_and_nothing_repairable() -> None:
    fine = plan(members(20, 0, 0), Prices(hour=10, regenerate=1))
    assert [line.images.value for line in fine.lines] == [1000, 0, 0]
    assert fine.lines[1].seconds is None
    assert fine.lines[1].share.high > 0  # none of twenty is not none of all
    hopeless = plan(members(0, 0, 20), Prices(hour=10))
    assert hopeless.lines[1].cost is None
    assert hopeless.advice is not None
    assert hopeless.advice.threshold == BAR
    assert plan(members(1, 1, 1)).advice is None  # without a price there is none


def test_a_failed_image_is_dropped() -> None:
    assert fate(Measured(0, "failed"), BAR) == "drop or regenerate"
    assert fate(Measured(0, "kept", before=BAR, after=BAR), BAR) == "keep"
