"""Commands for people who look before and after: report, inspect, plan. `qrefine.cli` adds them to its app.

Each imports what it needs when it runs: the help must come without torch and ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qrefine.config import load_config

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


def report(
    table: Annotated[str, typer.Argument(help="path or URL of a table that refine wrote")],
    output: Annotated[str, typer.Option("--output", "-o", help="path or URL of the HTML file")] = "report.html",
    config: ConfigOption = None,
    settings: SetOption = None,
    gallery: Annotated[int, typer.Option(min=0, max=60, help="samples in each view of the gallery")] = 12,
    sources: Annotated[bool, typer.Option(help="read images before refinement from their shards")] = True,
    lower_is_better: Annotated[
        list[str] | None, typer.Option(metavar="JUDGE", help="a judge whose low scores are good; may be repeated")
    ] = None,
    gpu_price: Annotated[float | None, typer.Option(min=0, help="price of a GPU-hour, for the cost")] = None,
) -> None:
    """Write one self-contained HTML file about a table: scores, failures, judges, a gallery of before and after.

    It is made in bounded memory from the table; the images before refinement come from the source shards, where
    those can still be read.
    """
    from qrefine.report.page import ReportOptions, write_report

    options = ReportOptions(gallery, sources, gpu_price, frozenset(name.lower() for name in lower_is_better or ()))
    size = write_report(table, output, load_config(config, settings or ()), options)
    print(f"report     {output} ({size / 1e6:.1f} MB)")
