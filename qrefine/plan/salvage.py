"""What to do with images below a bar: repair them, or drop or regenerate them; shares, costs, the best threshold.

The sample went through the real stages and their acceptance, so an image counts as repaired where q, scored again,
reached the bar. A repair is paid whether it succeeds or not: its cost for each repaired image holds the attempts
that failed. Images far below the bar are repaired seldom; the threshold says from which q on to try at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qrefine.corpus.units import Shard
from qrefine.plan.measure import Measured, Measurement
from qrefine.plan.predict import Draw, Estimate, corpus_images, estimate_of, replicates, wilson
from qrefine.plan.sampling import ShardSample

LOOKING = ("decode", "map", "judge")  # steps that every image goes through, repaired or not


@dataclass(frozen=True)
class Prices:
    """In one currency: an hour of an actor (a GPU, or a CPU without one), a new image, what may be spent."""

    hour: float | None = None
    regenerate: float | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Line:
    """One fate: images, their share of all, and for each of them the seconds of an actor and the cost."""

    name: str
    images: Estimate
    share: Estimate
    seconds: Estimate | None = None
    cost: Estimate | None = None


@dataclass(frozen=True)
class Advice:
    """Repair what has q from ``threshold`` up to the bar: ``good`` images then reach it, at ``cost`` in all."""

    threshold: float
    good: Estimate
    cost: Estimate


@dataclass(frozen=True)
class Salvage:
    """``lines``: keep, repair, drop or regenerate. ``advice`` is None without a price of an hour."""

    bar: float
    lines: tuple[Line, Line, Line]
    advice: Advice | None


def plan_salvage(
    shards: Sequence[Shard],
    read: Sequence[ShardSample],
    measurement: Measurement,
    bar: float,
    prices: Prices | None = None,
    *,
    seed: int = 0,
) -> Salvage:
    """Extrapolate to all ``shards``, as `predict` does; ``bar`` is a quality q in [0, 1]."""
    prices = prices or Prices()
    point, draws = replicates(shards, read, measurement, seed)
    paid = LOOKING if measurement.gpu is None else (*LOOKING, "encode")  # GPUs do not encode

    def seconds(m: Measured) -> float:
        return sum(spent for step, spent in m.seconds.items() if step not in paid)

    def estimate(of: Callable[[Draw], float]) -> Estimate:
        found = np.array([of(draw) for draw in draws])
        return estimate_of(of(point), found[np.isfinite(found)])

    def line(name: str, each: Callable[[Draw], float] | None, price: float | None) -> Line:
        def share(draw: Draw) -> float:
            return draw.mean(lambda m: fate(m, bar) == name)

        found = estimate(share)
        low, high = wilson(found.value, len(measurement.samples))
        images = estimate(lambda draw: share(draw) * corpus_images(shards, draw))
        total = images.value / found.value if found.value else point_images
        wide = Estimate(found.value, min(low, found.low), max(high, found.high))
        images = Estimate(images.value, min(images.low, wide.low * total), max(images.high, wide.high * total))
        spent = estimate(each) if each is not None and found.value else None
        if price is None or (each is not None and spent is None):
            return Line(name, images, wide, spent)
        unit = Estimate(price, price, price)
        cost = unit if spent is None else Estimate(*(v * price / 3600 for v in _values(spent)))
        return Line(name, images, wide, spent, cost)

    def repair_seconds(draw: Draw) -> float:
        done = draw.mean(lambda m: fate(m, bar) == "repair")
        return draw.mean(lambda m: seconds(m) * (fate(m, bar) != "keep")) / done if done else float("nan")

    point_images = corpus_images(shards, point)
    lines = (
        line("keep", None, None),
        line("repair", repair_seconds, prices.hour),
        line("drop or regenerate", None, prices.regenerate),
    )
    return Salvage(bar, lines, _advice(shards, point, draws, bar, prices, seconds))


def fate(measured: Measured, bar: float) -> str:
    """``keep``, ``repair`` or ``drop or regenerate``; a failed image is not worth its place either."""
    if measured.status == "failed" or measured.before is None or measured.after is None:
        return "drop or regenerate"
    return "keep" if measured.before >= bar else "repair" if measured.after >= bar else "drop or regenerate"


def _advice(
    shards: Sequence[Shard],
    point: Draw,
    draws: Sequence[Draw],
    bar: float,
    prices: Prices,
    seconds: Callable[[Measured], float],
) -> Advice | None:
    """The threshold that leaves most images at the bar within the budget; of those the cheapest."""
    hour = prices.hour
    if hour is None:
        return None

    def result(draw: Draw, threshold: float) -> tuple[float, float]:
        """Images at the bar, and what they cost."""
        images = corpus_images(shards, draw)

        def tried(m: Measured) -> bool:
            return m.before is not None and fate(m, bar) != "keep" and m.before >= threshold

        keep = images * draw.mean(lambda m: fate(m, bar) == "keep")
        repaired = images * draw.mean(lambda m: tried(m) and fate(m, bar) == "repair")
        cost = images * draw.mean(lambda m: seconds(m) * tried(m)) * hour / 3600
        if prices.budget is not None and cost > prices.budget:  # the money lasts for a part of them
            repaired, cost = repaired * prices.budget / cost, prices.budget
        if not prices.regenerate:
            return keep + repaired, cost
        missing = images - keep - repaired
        made = missing if prices.budget is None else min(missing, (prices.budget - cost) / prices.regenerate)
        return keep + repaired + made, cost + made * prices.regenerate

    below = {m.before for m in point.samples if m.before is not None and m.before < bar}

    def rank(threshold: float) -> tuple[float, float]:
        good, cost = result(point, threshold)
        return round(good, 6), -cost

    best = max(sorted({*below, bar}), key=rank)
    results = np.array([result(draw, best) for draw in draws])
    good, cost = (estimate_of(value, results[:, k]) for k, value in enumerate(result(point, best)))
    return Advice(best, good, cost)


def _values(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
