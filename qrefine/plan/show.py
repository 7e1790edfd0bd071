"""Makes a plan from end to end, and shows it in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from qrefine.config import RefineConfig
from qrefine.plan.measure import measure
from qrefine.plan.predict import Estimate, Plan, predict
from qrefine.plan.sampling import sample_corpus


def make_plan(
    inputs: Sequence[str],
    config: RefineConfig,
    *,
    samples: int = 64,
    gpu_price: float | None = None,
    seed: int = 0,
    notify: Callable[[int], None] = lambda count: None,
) -> Plan:
    """Sample, measure, predict; raises UserError where the input holds nothing to measure."""
    shards, read = sample_corpus(inputs, config, samples, seed)
    measurement = measure([one.drawn for one in read], config, notify)
    return predict(shards, read, measurement, gpu_price=gpu_price, seed=seed)


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
    for name in ("stage", "images that need it", f"{plan.unit} seconds each"):
        stages.add_column(name)
    for stage in dict.fromkeys([*plan.needs, *plan.stage_seconds]):
        need, seconds = plan.needs.get(stage), plan.stage_seconds.get(stage)
        stages.add_row(
            stage,
            "" if need is None else _share(need),
            "not seen: not in the hours" if seconds is None else _number(seconds),
        )
    walls = Table(box=None, padding=(0, 3, 0, 0))
    walls.add_column(f"{plan.unit}s")
    walls.add_column("wall time")
    for actors, wall in plan.wall_seconds.items():
        walls.add_row(str(actors), f"{_clock(wall.value)}  [{_clock(wall.low)} - {_clock(wall.high)}]")
    return Group(head, "", totals, "", stages, "", walls)


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
