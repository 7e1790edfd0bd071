"""Commands that examine, before and after a run: report, inspect, plan, doctor. `qrefine.cli.app` adds them.

Imports are inside the commands: help must not load torch or ray.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError

LOOK = "Look"
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file of settings (qrefine config --show)")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="one setting, such as bounds.mq=0.6; may be repeated")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        rich_help_panel=LOOK,
        epilog="Example: qrefine report s3://bucket/refined -o report.html --gpu-price 2.5",
    )(report)
    app.command(
        rich_help_panel=LOOK,
        epilog="Example: qrefine inspect portrait.png --prompt 'portrait of an astronaut' -o panels",
    )(inspect)
    app.command(
        rich_help_panel=LOOK,
        epilog="Example: qrefine plan 's3://bucket/raw/{000000..000999}.tar' -c sdxl.yaml --gpu-price 2.5",
    )(plan)
    app.command(
        rich_help_panel="Set up",
        epilog="Example: qrefine doctor --cluster 's3://bucket/raw/*.tar' s3://bucket/refined",
    )(doctor)


def report(
    table: Annotated[str, typer.Argument(help="path or URL of a table that refine wrote")],
    output: Annotated[str, typer.Option("--output", "-o", help="path or URL of the HTML file")] = "report.html",
    config: ConfigOption = None,
    settings: SetOption = None,
    gallery: Annotated[int, typer.Option(min=0, max=60, help="samples in each view of the gallery")] = 12,
    sources: Annotated[bool, typer.Option(help="read the images before refinement from their shards")] = True,
    refused: Annotated[
        int, typer.Option(min=0, max=60, help="refused repairs to make again and show; loads the models")
    ] = 0,
    lower_is_better: Annotated[
        list[str] | None, typer.Option(metavar="JUDGE", help="a judge whose low scores are good; may be repeated")
    ] = None,
    gpu_price: Annotated[float | None, typer.Option(min=0, help="price of a GPU-hour, for the cost")] = None,
) -> None:
    """Write one self-contained HTML file about a table: scores, failures, judges, a gallery of before and after.

    Needs bounded memory. Source images are read from their shards, if those are readable.
    """
    from qrefine.report.page import ReportOptions, write_report

    low = frozenset(name.lower() for name in lower_is_better or ())
    options = ReportOptions(gallery, sources, refused, gpu_price, low)
    size = write_report(table, output, load_config(config, settings or ()), options)
    print(f"report     {output} ({size / 1e6:.1f} MB)")


def inspect(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="paths or URLs of images")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for the panels")] = Path("."),
    prompt: Annotated[str, typer.Option(help="prompt of the images, for prompt-guided backends")] = "",
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Show what refinement does to an image, stage by stage: prints its quality map, writes a PNG panel.

    Nothing else is written, and Ray is not started.
    """
    effective = load_config(config, settings or ())
    from rich.console import Console

    from qrefine.report.inspection import (  # torch takes seconds to import
        Inspector,
        describe,
        draw_panel,
        read_image,
    )

    found = [read_image(url, effective) for url in images]
    inspector = Inspector(effective)
    console = Console(highlight=False, soft_wrap=True)
    output.mkdir(parents=True, exist_ok=True)
    for key, image in found:
        inspection = inspector(image, prompt, key)
        for line in describe(inspection):
            console.print(line)
        place = output / f"{key}.inspect.png"
        draw_panel(inspection).save(place)
        print(f"panel      {place}\n")


def plan(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="shards, as refine takes them")],
    config: ConfigOption = None,
    settings: SetOption = None,
    samples: Annotated[
        int, typer.Option(min=8, max=10_000, help="images to measure, from at most 16 shards")
    ] = 64,
    gpu_price: Annotated[float | None, typer.Option(min=0, help="price of a GPU-hour, for the cost")] = None,
    bar: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="Q", help="how many images below Q can be repaired to it")
    ] = None,
    regenerate_price: Annotated[float | None, typer.Option(min=0, help="price of a new image; with --bar")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="most that may be spent; with --bar")] = None,
    seed: Annotated[int, typer.Option(min=0, help="another seed draws another subset")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print the plan as JSON")] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="propose bounds for the mapper instead, as YAML to paste")
    ] = False,
) -> None:
    """Predict results, time and cost of refining a corpus, from a random subset that is refined here.

    Run it on one machine of the kind that will do the work. Nothing is written, and Ray is not started.
    """
    effective = load_config(config, settings or ())
    if calibrate:
        _calibrate(inputs, effective, samples, seed)
        return
    from rich.console import Console
    from rich.progress import Progress

    if bar is None and (regenerate_price is not None or budget is not None):
        raise UserError("--regenerate-price and --budget go with --bar: images below it are repaired or replaced")
    from qrefine.plan.salvage import Prices
    from qrefine.plan.show import make_plan, show  # torch takes seconds to import

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=samples)
        found = make_plan(
            inputs,
            effective,
            samples=samples,
            gpu_price=gpu_price,
            bar=bar,
            prices=Prices(regenerate=regenerate_price, budget=budget),
            seed=seed,
            notify=lambda count: progress.advance(task, count),
        )
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        Console(highlight=False, soft_wrap=True).print(show(found))


def _calibrate(inputs: list[str], config: RefineConfig, samples: int, seed: int) -> None:
    from qrefine.plan.calibrate import calibrate, to_yaml  # torch takes seconds to import

    print(to_yaml(calibrate(inputs, config, samples=samples, seed=seed), config))


def doctor(
    places: Annotated[list[str], typer.Argument(metavar="INPUT... OUTPUT", help="shards, then the table")],
    config: ConfigOption = None,
    settings: SetOption = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="check each node of the running Ray cluster")] = False,
) -> None:
    """Check what a run needs before it is started, and say how to fix what is wrong.

    Versions, memory, disk, GPUs, models, and the rights to read INPUT and to write OUTPUT, by trying each.
    Leaves nothing behind. Exit code 2 if something would stop a run.
    """
    if len(places) < 2:
        raise UserError("doctor needs at least one INPUT and the OUTPUT")
    effective = load_config(config, settings or ())
    from qrefine.doctor.findings import is_blocked, lines

    if cluster:
        from qrefine.doctor.cluster import examine_cluster as examine
    else:
        from qrefine.doctor.here import examine_here as examine
    findings = examine(places[:-1], places[-1], effective)
    print("\n".join(lines(findings)))
    raise typer.Exit(UserError.exit_code if is_blocked(findings) else 0)


def reasons(decisions: Mapping[str, int]) -> str:
    """Why images were kept, the most frequent reason first."""
    kept = [(name, count) for name, count in decisions.items() if name != "accepted"]
    return ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in sorted(kept, key=lambda x: (-x[1], x[0]))
    )
