"""Ablation of the pipeline stages: the paper's Table 3 and Fig. 5 on your own corpus.

    python jobs/ablate.py TABLE_OR_SHARDS... --config jobs/paper.yaml --out ablation [--limit 500]

Runs the stage combinations of Table 3 on the same samples and reports the configured judges' means, then the
enhancers' gain by quality group. The judges decide nothing, and without ``--accept`` neither does `accept`: as in
the paper, every output of a pipeline is scored. Writes ``ablation.json`` and ``ablation.png``.

A table stands for the shards that it was refined from. In mode fused the noise comes from the diffusion model's
own schedule, so rows with and without stage 1 are equal; use mode paper to compare them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from qrefine.config import Bounds, RefineConfig, load_config
from qrefine.corpus.listing import list_shards, units_of
from qrefine.corpus.readers import read_unit
from qrefine.corpus.units import Shard
from qrefine.errors import UserError
from qrefine.models.registry import load_judge
from qrefine.quality.map import Image
from qrefine.sample import Sample
from qrefine.stages.enhance import Enhance
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.refiner import build_stages
from qrefine.stages.stage import Stage, run_stages
from qrefine.table.table import open_table
from qrefine.work.process import load

NAMES = ("noise", "inpaint", "enhance")
ROWS = ((1, 2, 3), (2, 3), (3,), (1, 2), (1, 3), (2,))  # Table 3's, in its order
GROUPS = ("LQ", "MQ", "HQ")
ENHANCERS = ("blind", "prompt")  # E_B, E_P
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")
Judge = Callable[[Image], float]


@dataclass
class Scores:
    """Judges' scores, one list per judge, and how many images changed."""

    scores: dict[str, list[float]] = field(default_factory=dict)
    changed: int = 0
    failed: int = 0
    images: int = 0

    def add(self, sample: Sample, judged: dict[str, float]) -> None:
        self.images += 1
        self.changed += sample.refined is not None
        self.failed += sample.error is not None
        for name, score in judged.items():
            self.scores.setdefault(name, []).append(score)

    def mean(self, judge: str) -> float:
        return float(np.mean(self.scores[judge])) if self.scores.get(judge) else float("nan")


@dataclass(frozen=True)
class Ablation:
    """``rows``: by name, ``original`` first. ``gains``: by group, then enhancer, then judge: after - before."""

    rows: dict[str, Scores]
    gains: dict[str, dict[str, dict[str, float]]]
    sizes: dict[str, int]
    lower_better: dict[str, bool]


def row_name(stages: Sequence[int]) -> str:
    """Name of a combination as in Table 3: ``1+2+3``."""
    return "+".join(map(str, stages))


def group_of(q: float, bounds: Bounds) -> str:
    """LQ below B_LQ, HQ from B_MQ, MQ between."""
    return "LQ" if q < bounds.lq else "MQ" if q < bounds.mq else "HQ"


def ablate(samples: Iterator[Sample], config: RefineConfig, *, accept: bool = False, batch: int = 8) -> Ablation:
    """Run every row of Table 3 and both enhancers on the same samples, ``batch`` at a time."""
    judges = {name: load_judge(name) for name in config.judges}
    names = ("map", *NAMES, "accept") if accept else ("map", *NAMES)
    stages = dict(
        zip(names, build_stages(names, config.model_copy(update={"stages": NAMES, "judges": ()})), strict=True)
    )
    inpaint, enhance = stages["inpaint"], stages["enhance"]
    if not isinstance(inpaint, Inpaint) or not isinstance(enhance, Enhance):
        raise TypeError(f"stages 2 and 3 are {type(inpaint).__name__} and {type(enhance).__name__}")
    rows = {name: Scores() for name in ("original", *(row_name(row) for row in ROWS))}
    gains: dict[str, dict[str, Scores]] = {g: {"blind": Scores(), "prompt": Scores()} for g in GROUPS}
    for members in _batches(samples, batch):
        mapped = run_stages([stages["map"]], members)
        usable = [sample for sample in mapped if sample.error is None]
        before = [_judged(sample, judges) for sample in usable]
        for sample, scores in zip(usable, before, strict=True):
            rows["original"].add(sample, scores)
        for row in ROWS:
            named = tuple(NAMES[k - 1] for k in row)
            # knows the stages of the row, because it may run stage 3 in its own pass
            own = Inpaint(config.model_copy(update={"stages": named}), inpaint.restorer)
            chosen: list[Stage] = [own if name == "inpaint" else stages[name] for name in named]
            if accept:
                chosen.append(stages["accept"])
            for sample in run_stages(chosen, usable):
                rows[row_name(row)].add(sample, {} if sample.error else _judged(sample, judges))
        for blind, key in ((True, "blind"), (False, "prompt")):
            for old, new, scores in zip(usable, enhance.run(usable, blind), before, strict=True):
                after = _judged(new, judges)
                group = group_of(old.quality.score, config.bounds)
                gains[group][key].add(new, {name: after[name] - scores[name] for name in judges})
    if not rows["original"].images:
        raise UserError("there is no readable image to ablate on")
    return Ablation(
        rows,
        {g: {e: {j: t.mean(j) for j in judges} for e, t in both.items()} for g, both in gains.items()},
        {g: gains[g]["blind"].images for g in GROUPS},
        {name: lower_is_better(name, judge) for name, judge in judges.items()},
    )


def _batches(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    members: list[Sample] = []
    for sample in samples:
        members.append(sample)
        if len(members) == size:
            yield members
            members = []
    if members:
        yield members


def _judged(sample: Sample, judges: dict[str, Judge]) -> dict[str, float]:
    return {name: judge(sample.pixels) for name, judge in judges.items()}


def lower_is_better(name: str, judge: object) -> bool:
    """PIQE measures damage; metrics of pyiqa have the attribute ``lower_better``."""
    return name == "piqe" or bool(getattr(getattr(judge, "metric", None), "lower_better", False))


def read_samples(patterns: Sequence[str], config: RefineConfig, limit: int | None) -> Iterator[Sample]:
    """The readable images of the shards, or of the shards that a table was made from."""
    count = 0
    for unit in units(patterns, config):
        for raw in read_unit(unit, config):
            if count == limit:
                return
            sample = load(raw, (), config)
            if sample.error is None:
                count += 1
                yield sample


def units(patterns: Sequence[str], config: RefineConfig) -> list[Shard]:
    """Units behind the patterns; a single pattern that is a table stands for its sources."""
    if len(patterns) == 1:
        try:
            table = open_table(patterns[0], config.storage_options)
        except UserError:
            pass
        else:
            column = table.to_pyarrow_dataset().to_table(columns=["shard"])["shard"]
            return list(
                units_of(sorted(set(column.to_pylist())), config.storage_options, config.input.keys).values()
            )
    return list_shards(patterns, config.storage_options, config.input.keys)


def table_text(result: Ablation) -> str:
    """Both tables as text; an arrow shows whether a judge's higher or lower scores are better."""
    judges = list(result.lower_better)
    heads = [f"{name} {'↓' if result.lower_better[name] else '↑'}" for name in judges]
    width = max(12, *(len(head) + 2 for head in heads))
    lines = [
        f"{'pipelines':<12}" + "".join(f"{head:>{width}}" for head in heads) + f"{'changed':>10}{'failed':>8}"
    ]
    for name, scored in result.rows.items():
        cells = "".join(f"{scored.mean(judge):>{width}.4f}" for judge in judges)
        lines.append(f"{name:<12}{cells}{scored.changed / max(1, scored.images):>10.0%}{scored.failed:>8}")
    lines += ["", "gain of stage 3 alone, by the quality of the source (after - before)"]
    columns = "".join(f"{head + ' ' + enhancer:>{width + 8}}" for head in heads for enhancer in ENHANCERS)
    lines.append(f"{'group':<12}{'images':>8}{columns}")
    for group in GROUPS:
        cells = "".join(f"{result.gains[group][e][judge]:>+{width + 8}.4f}" for judge in judges for e in ENHANCERS)
        lines.append(f"{group:<12}{result.sizes[group]:>8}{cells}")
    return "\n".join(lines)


def draw(result: Ablation) -> PIL.Image.Image:
    """One chart per judge: Table 3 on the left, the enhancers' gain by group on the right."""
    judges = list(result.lower_better)
    wide, tall, edge = 460, 240, 40
    sheet = PIL.Image.new("RGB", (2 * wide, tall * len(judges)), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    for k, judge in enumerate(judges):
        better = "lower is better" if result.lower_better[judge] else "higher is better"
        means = {name: scored.mean(judge) for name, scored in result.rows.items()}
        _bars(pen, (0, k * tall, wide, tall, edge), f"{judge} ({better})", means)
        gains = {f"{g} {e}": result.gains[g][e][judge] for g in GROUPS for e in ENHANCERS}
        _bars(pen, (wide, k * tall, wide, tall, edge), f"{judge}: gain of stage 3", gains)
    return sheet


def _bars(
    pen: PIL.ImageDraw.ImageDraw, place: tuple[int, int, int, int, int], title: str, values: dict[str, float]
) -> None:
    left, top, width, height, edge = place
    known = [value for value in values.values() if np.isfinite(value)]
    low, high = min(0.0, *known, 0.0), max(0.0, *known, 1e-9)
    scale = (height - 2 * edge) / (high - low)
    zero = top + height - edge + low * scale
    pen.text((left + edge, top + 12), title, fill="black")
    step = (width - 2 * edge) / len(values)
    for i, (name, value) in enumerate(values.items()):
        x = left + edge + i * step
        if np.isfinite(value):
            ends = sorted((zero, zero - value * scale))
            pen.rectangle((x + 4, ends[0], x + step - 4, ends[1]), fill=COLOURS[i % len(COLOURS)])
            pen.text((x + 4, ends[0] - 12), f"{value:.3g}", fill="black")
        pen.text((x + 4, top + height - edge + 6 + 12 * (i % 2)), name, fill="black")
    pen.line((left + edge, zero, left + width - edge, zero), fill="black")


def as_json(result: Ablation) -> dict[str, object]:
    """Plain data: means per row, gains per group; null where no image was in a group."""
    judges = list(result.lower_better)
    means = {
        name: {
            "images": t.images,
            "changed": t.changed,
            "failed": t.failed,
            **{j: _plain(t.mean(j)) for j in judges},
        }
        for name, t in result.rows.items()
    }
    gains = {
        g: {e: {j: _plain(v) for j, v in found.items()} for e, found in both.items()}
        for g, both in result.gains.items()
    }
    return {"rows": means, "gains": gains, "group_sizes": result.sizes, "lower_better": result.lower_better}


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("inputs", nargs="+", help="a table, or shards: paths, URLs, braces, globs, folders")
    parser.add_argument("--config", help="YAML settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--out", default="ablation", help="folder for ablation.json and ablation.png")
    parser.add_argument("--limit", type=int, help="use at most this many images")
    parser.add_argument(
        "--accept", action="store_true", help="run `accept`, which reverts changes that it judges worse"
    )
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config, options.set)
        if not config.judges:
            raise UserError("judges is empty: an ablation needs one judge at least")
        samples = read_samples(options.inputs, config, options.limit)
        result = ablate(samples, config, accept=options.accept, batch=config.stream.batch_size)
    except UserError as error:
        print(f"error: {error}")
        return error.exit_code
    if config.mode == "fused":
        print("mode fused: stage 1 is part of stage 2, so rows that differ by it alone are equal")
    print(table_text(result))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "ablation.json").write_text(json.dumps(as_json(result), indent=2) + "\n")
    draw(result).save(out / "ablation.png")
    print(f"written to {out}/ablation.json and {out}/ablation.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
