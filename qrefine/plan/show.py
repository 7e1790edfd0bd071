"""Makes a plan from end to end, and shows it in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qrefine.config import RefineConfig
from qrefine.plan.measure import measure
from qrefine.plan.predict import Estimate, Plan, predict
from qrefine.plan.salvage import Prices, Salvage, plan_salvage
from qrefine.plan.sampling import sample_corpus


def make_plan(
    inputs: Sequence[str],
    config: RefineConfig,
    *,
    samples: int = 64,
    gpu_price: float | None = None,
    bar: float | None = None,
    prices: Prices | None = None,
    seed: int = 0,
    notify: Callable[[int], None] = lambda count: None,
) -> Plan:
    """Sample, measure, predict; raises UserError where the input holds nothing to measure.

    ``bar``: say also how many images below this q can be repaired to it, and at what price.
    """
    shards, read = sample_corpus(inputs, config, samples, seed)
    measurement = measure([one.drawn for one in read], config, notify)
    plan = predict(shards, read, measurement, gpu_price=gpu_price, seed=seed)
    if bar is None:
        return plan
    prices = replace(prices or Prices(), hour=gpu_price)
    return replace(plan, salvage=plan_salvage(shards, read, measurement, bar, prices, seed=seed))


def show(plan: Plan) -> RenderableType:
    """The plan as tables for a terminal."""
    head = Text(
        f"{plan.sampled} samples from {plan.shards_read} of {plan.shards} shards, measured on {plan.device};"
        " 95 % intervals in brackets"
    )
    totals = Table.grid(padding=(0, 3))
    totals.add_row("images", _whole(plan.images))
    for status, share in plan.statuses.items():
        totals.add_row(status, _share(share))
    totals.add_row(f"{plan.unit}-hours", _number(plan.hours))
    if plan.cost is not None:
        totals.add_row("cost", _number(plan.cost))
    totals.add_row("bytes out", _number(plan.bytes_out, 1e9, " GB"))
    stages = Table(box=None, padding=(0, 3, 0, 0))
    for name in ("stage", "images that need it", f"{plan.unit} seconds each", "megapixels to its model"):
        stages.add_column(name)
    for stage in dict.fromkeys([*plan.needs, *plan.stage_seconds]):
        need, seconds = plan.needs.get(stage), plan.stage_seconds.get(stage)
        pixels = plan.stage_pixels.get(stage)
        stages.add_row(
            stage,
            "" if need is None else _share(need),
            "not seen: not in the hours" if seconds is None else _number(seconds),
            "" if pixels is None else _number(pixels, 1e6),
        )
    walls = Table(box=None, padding=(0, 3, 0, 0))
    walls.add_column(f"{plan.unit}s")
    walls.add_column("wall time")
    for actors, wall in plan.wall_seconds.items():
        walls.add_row(str(actors), f"{_clock(wall.value)}  [{_clock(wall.low)} - {_clock(wall.high)}]")
    parts: list[RenderableType] = [head, "", totals, "", stages, "", walls]
    return Group(*parts, *(["", *_salvage(plan)] if plan.salvage is not None else []))


def _salvage(plan: Plan) -> list[RenderableType]:
    """What becomes of the images by the bar, and from which quality on a repair pays."""
    found: Salvage = plan.salvage
    table = Table(box=None, padding=(0, 3, 0, 0))
    for name in (f"bar q {found.bar:g}", "images", "share", f"{plan.unit} seconds each", "cost each"):
        table.add_column(name, no_wrap=True)
    for line in found.lines:
        seconds = "" if line.seconds is None else _number(line.seconds)
        table.add_row(line.name, _whole(line.images), _share(line.share), seconds, _price(line.cost))
    if found.advice is None:
        return [table]
    told = found.advice
    what = "repair none" if told.threshold >= found.bar else f"repair from q {told.threshold:.3f} on"
    return [table, "", Text(f"{what}: {_whole(told.good)} images at the bar for {_number(told.cost)}")]


def _price(e: Estimate | None) -> str:
    return "" if e is None else f"{e.value:.3g}" if e.low == e.high else _number(e)


def _whole(e: Estimate) -> str:
    return f"{e.value:,.0f}" + ("" if e.low == e.high else f"  [{e.low:,.0f} - {e.high:,.0f}]")


def _share(e: Estimate) -> str:
    return f"{e.value:.1%}  [{e.low:.1%} - {e.high:.1%}]"


def _number(e: Estimate, unit: float = 1.0, name: str = "") -> str:
    return f"{e.value / unit:.3g}{name}  [{e.low / unit:.3g} - {e.high / unit:.3g}]"


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
