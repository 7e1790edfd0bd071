"""The command line. Errors that the user can fix are one line and exit code 2; ``--debug`` shows tracebacks.

Exit codes: 0 done; 1 the run broke, the same command continues; 2 something to fix (arguments, input, rights);
3 done, but shards failed; 4 another run holds the table; 130 interrupted, the same command continues.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table as Grid

from qrefine.cli import keep, look
from qrefine.cli.look import ConfigOption, SetOption, reasons
from qrefine.cli.settings import to_yaml
from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError

if TYPE_CHECKING:
    from qrefine.work.refine import Summary

INTERRUPTED = 130
# of the click that typer uses, which may be its vendored copy
UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="qrefine",
    help="Quality-guided refinement of text-to-image corpora.",
    epilog="Exit codes: 0 done; 2 something to fix; 3 done, but shards failed; 4 the table is in use.",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(
    rich_help_panel="Refine",
    epilog="Example: qrefine refine 's3://bucket/raw/{000000..000999}.tar' s3://bucket/refined",
)
def refine(
    places: Annotated[list[str], typer.Argument(metavar="INPUT... OUTPUT", help="shards, then the table")],
    config: ConfigOption = None,
    settings: SetOption = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="refine failed rows again")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="tracebacks and Ray's own logs")] = False,
) -> None:
    """Refine WebDataset shards into a table; run it again and it continues.

    INPUT: paths or URLs, with {000..999} braces and globs, or folders. OUTPUT: path or URL of the table.
    """
    if len(places) < 2:
        raise UserError("refine needs at least one INPUT and the OUTPUT")
    effective = load_config(config, settings or ())
    from qrefine.api import refine as run

    summary = run(places[:-1], places[-1], effective, retry_failed=retry_failed, debug=debug, notify=_notify)
    print_summary(summary)
    raise typer.Exit(summary.exit_code)


@app.command(rich_help_panel="Refine", epilog="Example: qrefine score 's3://bucket/raw/*.tar' s3://bucket/scores")
def score(
    places: Annotated[list[str], typer.Argument(metavar="INPUT... TABLE", help="shards, then the table")],
    config: ConfigOption = None,
    settings: SetOption = None,
    judges: Annotated[
        list[str] | None, typer.Option("--judge", metavar="NAME", help="instead of judges; may be repeated")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="score failed rows again")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="tracebacks and Ray's own logs")] = False,
) -> None:
    """Score images and refine none: quality maps and judges in a table without images; run again, it continues.

    The images stay in their shards; export, report and qrefine.open_image find them there. With TABLE alone,
    --judge adds its scores to any table, in a table beside it.
    """
    effective = load_config(config, settings or ())
    if len(places) == 1 and judges:
        _add_judges(places[0], judges, effective, debug)
    if len(places) < 2:
        raise UserError("score needs at least one INPUT and the TABLE, or a TABLE and --judge")
    if judges:
        effective = effective.model_copy(update={"judges": tuple(judges)})
    from qrefine.api import score as run

    summary = run(places[:-1], places[-1], effective, retry_failed=retry_failed, debug=debug, notify=_notify)
    print_summary(summary)
    raise typer.Exit(summary.exit_code)


@app.command(rich_help_panel="Set up", epilog="Example: qrefine config --show --set bounds.mq=0.6 > mine.yaml")
def config(
    config: ConfigOption = None,
    settings: SetOption = None,
    show: Annotated[bool, typer.Option("--show", help="print the effective settings as commented YAML")] = False,
    digest: Annotated[bool, typer.Option("--digest", help="print the digest stored in rows")] = False,
    backend: Annotated[str | None, typer.Option(help="print the options of a mapper or restorer")] = None,
) -> None:
    """Check settings; print them, their digest, or a backend's options."""
    if backend is not None:
        from qrefine.models.registry import options_of

        print("\n".join(line for options in options_of(backend) for line in options.listed()) or "no options")
        return
    effective = load_config(config, settings or ())
    if show:
        sys.stdout.write(to_yaml(effective))
    if digest or not show:
        print(effective.digest)


@app.command(rich_help_panel="Set up", epilog="Example: qrefine demo /tmp/demo")
def demo(
    folder: Annotated[Path, typer.Argument(help="folder for the corpus, the table and the pictures")] = Path(
        "demo"
    ),
    debug: Annotated[bool, typer.Option("--debug", help="tracebacks and Ray's own logs")] = False,
) -> None:
    """Make a small corpus of damaged photographs, refine it, and draw before and after."""
    from qrefine.cli.demo import run_demo

    summary, sheet = run_demo(folder, debug=debug)
    print_summary(summary)
    print(f"corpus     {folder / 'shards'}\npictures   {sheet}")
    raise typer.Exit(summary.exit_code)


look.add_to(app)
keep.add_to(app)


def _add_judges(table: str, judges: list[str], config: RefineConfig, debug: bool) -> NoReturn:
    from qrefine.api import judge

    summaries = judge(table, judges, config, debug=debug, notify=_notify)
    for name, summary in zip(judges, summaries, strict=True):
        again = f", {summary.again} of them again" if summary.again else ""
        print(f"judge      {name}: {summary.judged} rows{again}, {summary.kept} judged before")
        for (shard, reason), count in sorted(summary.lost.items()):
            print(f"left out   {count} images of {shard}: {reason}")
        for note, count in sorted(summary.notes.items()):
            print(f"note       {count} x {note}")
        print(f"scores     {summary.table}")
    raise typer.Exit(max(summary.exit_code for summary in summaries))


def _notify(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def print_summary(summary: Summary) -> None:
    """The result of a run on standard output."""
    if summary.shards_done_before == summary.shards:
        print(f"nothing to do: all {summary.shards} shards are in {summary.table} (--retry-failed tries failures)")
        return
    grid = Grid.grid(padding=(0, 3))
    for name, value in _summary_rows(summary):
        grid.add_row(name, value)
    Console(highlight=False, soft_wrap=True).print(grid)


def _summary_rows(summary: Summary) -> list[tuple[str, str]]:
    counts = f"{summary.refined} refined, {summary.kept} kept, {summary.failed} failed"
    rows = [
        ("images", f"{summary.samples}: {counts}"),
        *([("kept", told)] if (told := reasons(summary.decisions)) else []),
        ("shards", f"{summary.shards}, of which {summary.shards_done_before} were done before"),
    ]
    if summary.quality_before is not None and summary.quality_after is not None:
        rows.append(("quality", f"{summary.quality_before:.4f} -> {summary.quality_after:.4f}"))
    rows.append(("speed", f"{summary.images_per_second:.2f} images/s over {summary.seconds:.1f} s"))
    if summary.extra_images:
        rows.append(("extra", f"{summary.extra_images} further images under the same keys were left out"))
    if summary.retried_rows:
        rows.append(("lost actors", f"{summary.retried_rows} rows were done again, one by one"))
    if summary.leftovers_removed:
        rows.append(("leftovers", f"{summary.leftovers_removed} parts of dead runs removed"))
    rows += [("failed", f"{count} x {kind}") for kind, count in sorted(summary.errors.items())]
    rows += [("note", note) for note in summary.notes]
    return [*rows, ("run", f"{summary.run}, configuration {summary.config}"), ("table", summary.table)]


def main() -> None:
    """Entry point: runs a command; an error becomes one line and an exit code."""
    debug = "--debug" in sys.argv[1:]
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="qrefine", standalone_mode=False)
    except UserError as error:
        if debug:
            raise
        code = _complain(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted; what is committed stays: the same command continues", INTERRUPTED)
    except UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        code = _complain(error.format_message() + hint, error.exit_code)
    sys.exit(code or 0)


def _complain(text: str, code: int) -> int:
    print(f"qrefine: {' '.join(text.split())}", file=sys.stderr)
    return code
