"""Commands that maintain a table: nightly, diff, restore, export. `qrefine.cli.app` adds them to its app.

Imports are inside the commands: help must not load torch or ray.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from qrefine.cli.look import ConfigOption, SetOption, reasons
from qrefine.config import load_config
from qrefine.errors import UserError

if TYPE_CHECKING:
    from qrefine.nightly.night import NightPlan
    from qrefine.nightly.run import NightSummary
    from qrefine.table.export.output import Manifest

KEEP = "Keep"
JsonOption = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
TableArgument = Annotated[str, typer.Argument(help="path or URL of a table that refine wrote")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command, example in (
        (nightly, "qrefine nightly 's3://bucket/raw/*.tar' s3://bucket/refined --retry-failed --below 0.5"),
        (diff, "qrefine diff s3://bucket/refined 41 42"),
        (restore, "qrefine restore s3://bucket/refined 41"),
        (export, "qrefine export refined train --where \"quality_after >= 0.6 and status != 'failed'\""),
    ):
        app.command(rich_help_panel=KEEP, epilog=f"Example: {example}")(command)


def nightly(
    places: Annotated[list[str], typer.Argument(metavar="INPUT... TABLE", help="shards, then the table")],
    config: ConfigOption = None,
    settings: SetOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="refine failed rows again")] = False,
    below: Annotated[
        float | None, typer.Option(min=0, max=1, metavar="Q", help="refine rows with quality_after below Q again")
    ] = None,
    stale: Annotated[bool, typer.Option("--stale", help="refine rows of another configuration again")] = False,
    score: Annotated[bool, typer.Option("--score", help="the table is one of qrefine score")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="remove the rows of shards that no longer exist")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and change nothing")] = False,
    as_json: JsonOption = False,
    debug: Annotated[bool, typer.Option("--debug", help="tracebacks and Ray's own logs")] = False,
) -> None:
    """Bring a table up to date with its input: new and changed shards, and rows to refine again; one new version.

    Give the whole input each time: shards of its folders, braces and globs that no longer exist have vanished.
    After a kill the same command continues. Afterwards small parts are compacted, and parts that no version of the
    last 7 days uses are deleted.
    """
    if len(places) < 2:
        raise UserError("nightly needs at least one INPUT and the TABLE")
    effective = load_config(config, settings or ())
    from qrefine.api import scoring
    from qrefine.nightly.changes import Again
    from qrefine.nightly.night import plan_nightly

    effective = scoring(effective) if score else effective
    again = Again(retry_failed, below, stale)
    if dry_run:
        plan = plan_nightly(places[:-1], places[-1], effective, again, prune=prune)
        _print(plan_lines(plan, prune), asdict(plan) if as_json else None)
        return
    from rich.console import Console

    from qrefine.api import nightly as run

    console = Console(stderr=True)
    summary = run(
        places[:-1],
        places[-1],
        effective,
        again,
        prune=prune,
        debug=debug,
        notify=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
    )
    _print(summary_lines(summary, prune), asdict(summary) if as_json else None)
    raise typer.Exit(summary.exit_code)


def diff(
    table: TableArgument,
    v1: Annotated[int, typer.Argument(metavar="V1", min=0, help="a version")],
    v2: Annotated[int, typer.Argument(metavar="V2", min=0, help="a later version")],
    config: ConfigOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions of a table: samples added, removed and replaced, the latter improved or worse."""
    options = load_config(config, settings or ()).storage_options
    from qrefine.storage.store import Store
    from qrefine.table.diff import diff as compare
    from qrefine.table.table import Table

    store = Store.at(table, options)
    found = compare(Table.open(store, v1), Table.open(store, v2))
    lines = [
        f"added      {found.added}",
        f"removed    {found.removed}",
        f"replaced   {found.replaced}: {found.improved} improved, {found.worse} worse, {found.same} the same,"
        f" {found.new_source} of a new source, {found.unknown} failed before and after",
    ]
    if found.gain is not None:
        lines.append(f"gain       {found.gain:+.4f} on average, of those replaced from the same source")
    _print(lines, asdict(found) if as_json else None)


def restore(
    table: TableArgument,
    version: Annotated[int, typer.Argument(min=0, help="the version to go back to")],
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Restore a table to an earlier version, as a new version; versions of the last 7 days are complete."""
    options = load_config(config, settings or ()).storage_options
    from qrefine.storage.store import Store
    from qrefine.table.lease import Lease, new_run
    from qrefine.table.table import Table

    run, store = new_run(), Store.at(table, options)
    Table.open(store)  # without a table, take no lease
    with Lease(store, run):
        print(f"version    {Table.open(store).restore(version, run)}, the same as {version}")


def export(
    table: TableArgument,
    output: Annotated[str, typer.Argument(help="path or URL of an empty or new folder")],
    format: Annotated[
        str | None, typer.Option(help="webdataset (default), parquet (default for preference) or imagefolder")
    ] = None,
    where: Annotated[str | None, typer.Option(help="condition on columns, as in SQL's WHERE")] = None,
    top: Annotated[
        float | None, typer.Option(metavar="SHARE", help="the share of rows with the highest --by, such as 0.3")
    ] = None,
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help="the column that --top ranks by")] = None,
    per: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="--top of each value of a column, or of metadata.FIELD")
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="--top takes the lowest values of --by")
    ] = False,
    images: Annotated[
        str, typer.Option(help="as-is, png, jpg or webp; as-is: webdataset has one format where they differ")
    ] = "as-is",
    layout: Annotated[
        str, typer.Option(help="samples, or source: a shard for each source shard, its members as they were")
    ] = "samples",
    members: Annotated[
        bool, typer.Option(help="the samples' other members come along, read from the source shards")
    ] = True,
    pairs: Annotated[
        str | None,
        typer.Option(help="restoration (before, after, mask) or preference (chosen, rejected) of refined rows"),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="samples per shard, Parquet file or folder")] = 1000,
    version: Annotated[int | None, typer.Option(min=0, help="version of the table; default: the newest")] = None,
    config: ConfigOption = None,
    settings: SetOption = None,
) -> None:
    """Write a table's images as a training set, in the order of their shards, with a card and a manifest.

    Failed rows have no image and are left out. On Ray (stream.executor, RAY_ADDRESS) shards are written side by
    side on its nodes, the same bytes. Every sample of webdataset has the same members. Exported shards
    are an input for refine. Code 3: source shards that are needed are gone or have changed; their samples are left
    out.
    """
    effective = load_config(config, settings or ())
    from qrefine import api
    from qrefine.table.export.request import chosen
    from qrefine.table.export.select import Choice

    request = chosen(format, Choice(where, top, by, per, lower_is_better), images, layout, members, pairs, samples)
    manifest = api.export(table, output, request, effective, version=version)
    print("\n".join(export_lines(manifest, output.rstrip("/"))))
    raise typer.Exit(3 if manifest.left_out else 0)


def export_lines(manifest: Manifest, output: str) -> list[str]:
    """The result of an export as text lines."""
    lines = [f"exported   {manifest.samples} images in {len(manifest.files)} files, {manifest.bytes / 1e6:.1f} MB"]
    if manifest.selected < manifest.candidates:
        lines.append(f"selected   {manifest.selected} of {manifest.candidates} rows")
    lines += [f"encoded    {count} images from {what}" for what, count in manifest.converted.items()]
    lines += [f"left out   {count}: {reason}" for reason, count in manifest.left_out.items()]
    lines += [f"note       {note}" for note in manifest.notes]
    return [*lines, f"manifest   {output}/manifest.json, of version {manifest.version}"]


def plan_lines(plan: NightPlan, prune: bool) -> list[str]:
    """The plan of a nightly run as text lines; vanished shards are named."""
    fate = f"their {plan.pruned_rows} rows go" if prune else "their rows stay; --prune removes them"
    lines = [
        f"shards     {plan.shards}: {plan.new} new, {plan.changed} changed, {plan.incomplete} incomplete",
        f"again      {plan.failed} failed, {plan.stale} stale, {plan.below} poor rows",
        f"to read    {plan.shards_read} shards, {plan.bytes / 1e6:.1f} MB",
    ]
    if plan.vanished:
        lines.append(f"vanished   {len(plan.vanished)} shards ({fate}): {', '.join(plan.vanished[:10])}")
    if plan.recut:
        lines.append(f"cut anew   {plan.recut} units of folders or tables: new ones hold their samples")
    if plan.elsewhere:
        lines.append(f"elsewhere  {plan.elsewhere} shards of the table that the input does not cover")
    return lines


def summary_lines(summary: NightSummary, prune: bool) -> list[str]:
    """The result of a nightly run as text lines."""
    counts = f"{summary.refined} refined, {summary.kept} kept, {summary.failed} failed"
    lines = plan_lines(summary.plan, prune)
    lines.append(f"images     {summary.samples}: {counts}")
    if told := reasons(summary.decisions):
        lines.append(f"kept       {told}")
    if summary.continued:
        lines.append(f"continued  {summary.continued} of them were ready when a night before was killed")
    if summary.settled:
        found = ", ".join(f"{count} {what}" for what, count in sorted(summary.settled.items()))
        lines.append(f"done again {found}")
    if summary.unread:
        lines.append(f"unread     {summary.unread} shards whose reader died each time; their rows stay")
    if summary.compacted:
        lines.append(f"compacted  the small parts of {summary.compacted} shards")
    if summary.vacuumed or summary.leftovers_removed:
        lines.append(
            f"deleted    {summary.vacuumed} parts of old versions, {summary.leftovers_removed} of dead runs"
        )
    lines += [f"failed     {count} x {kind}" for kind, count in sorted(summary.errors.items())]
    version = f"{summary.version}" if summary.committed else f"{summary.version}, as before: nothing to do"
    lines.append(f"run        {summary.run}, configuration {summary.config}, {summary.seconds:.1f} s")
    return [*lines, f"version    {version}", f"table      {summary.table}"]


def _print(lines: list[str], values: dict[str, object] | None) -> None:
    print("\n".join(lines) if values is None else json.dumps(values, indent=2))
