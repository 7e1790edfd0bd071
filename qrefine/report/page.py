"""From a table to one HTML file: scan, choose, look up, draw, fill in the template."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from qrefine.config import Bounds, RefineConfig
from qrefine.report import charts
from qrefine.report.cards import Card, make_card
from qrefine.report.gallery import REFUSED_VIEW, Section, Shown, look_up, sections
from qrefine.report.rows import ChunkRows
from qrefine.report.scan import TableScan
from qrefine.report.statistics import COLUMNS, GROUPS, LOWER_IS_BETTER, PATHS, Statistics, Tally
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store

if TYPE_CHECKING:
    from qrefine.report.refused import Repairs

TABLE_ROWS = 100  # of the shard and generator tables; those of lowest quality are shown
MOST_RUNS = 200  # whose summaries are read
PICTURE_BYTES = 8 << 20  # of all pictures before base64, which adds a third: the page stays below 15 MB
PATH_NAMES = dict(zip(PATHS, ("blind enhancer", "prompt enhancer", "inpainting alone"), strict=True))


@dataclass(frozen=True)
class ReportOptions:
    """The report's options; ``gpu_price`` is per GPU-hour, in whatever currency."""

    gallery: int = 12  # samples in each view
    sources: bool = True  # read the images before refinement from their shards
    refused: int = 0  # repairs that were turned down and are made again, which takes the models
    gpu_price: float | None = None
    lower_is_better: frozenset[str] = frozenset()  # judges beyond those that are known
    title: str = ""


@dataclass(frozen=True)
class Effort:
    """Time from the summaries of runs; a run that was killed left none."""

    seconds: float
    gpu_hours: float
    runs: int
    runs_told: int
    rows: int  # of the runs with a summary
    cost: float | None


def write_report(
    table: str, output: str, config: RefineConfig | None = None, options: ReportOptions | None = None
) -> int:
    """Write the report of a table to a path or URL; returns its size in bytes.

    The bounds of the quality groups are those that the table's rows were made with, where they were recorded, else
    those of ``config``. Raises UserError.
    """
    config, options = config or RefineConfig(), options or ReportOptions()
    page = render_report(TableScan(Store.at(table, config.storage_options)), config, options).encode()
    try:
        Store.at(output, config.storage_options).upload("", io.BytesIO(page))
    except OSError as error:
        raise storage_error(output, error) from error
    return len(page)


def render_report(scan: TableScan, config: RefineConfig, options: ReportOptions) -> str:
    """The page as text."""
    bounds, bounds_known = _bounds(scan, config)
    statistics = Statistics(bounds, scan.judges, LOWER_IS_BETTER | options.lower_is_better)
    views = sections(options.gallery, statistics.judges, options.refused)
    columns = [*COLUMNS, *(f"{judge}_{when}" for judge in scan.judges for when in ("before", "after"))]
    for chunk in scan.chunks(columns):
        rows = ChunkRows(chunk.rows, chunk.part, chunk.first)
        statistics.add(rows)
        for view in views:
            view.top.offer(*view.rank(rows), rows)
    return _fill(
        scan=scan,
        title=options.title or scan.root.rstrip("/").rpartition("/")[2],
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        stats=statistics,
        bytes_out=sum(part.size for part in scan.parts),
        bounds=bounds,
        bounds_known=bounds_known,
        effort=_effort(scan, statistics, options.gpu_price),
        views=_gallery(scan, views, statistics, config, options),
        charts=_charts(statistics, bounds),
        groups=_groups(statistics),
        shards=_worst(statistics.shards),
        generators=_worst(statistics.generators),
        errors=sorted(statistics.errors.items(), key=lambda item: (-item[1].count, item[0]))[:TABLE_ROWS],
    )


def _bounds(scan: TableScan, config: RefineConfig) -> tuple[Bounds, bool]:
    """The bounds of the newest rows, and whether they were recorded."""
    digest = scan.last_config
    if digest == config.digest:
        return config.bounds, True
    found = scan.bounds(digest)
    return (config.bounds, False) if found is None else (found, True)


def _effort(scan: TableScan, statistics: Statistics, price: float | None) -> Effort:
    told = {run: scan.run_summary(run) for run, _ in statistics.runs.most_common(MOST_RUNS)}
    summaries = {run: summary for run, summary in told.items() if summary is not None}
    seconds = sum(float(summary.get("seconds") or 0) for summary in summaries.values())
    gpu_hours = sum(float(s.get("seconds") or 0) * float(s.get("gpus") or 0) / 3600 for s in summaries.values())
    cost = price * gpu_hours if price is not None and gpu_hours else None
    rows = sum(statistics.runs[run] for run in summaries)
    return Effort(seconds, gpu_hours, len(statistics.runs), len(summaries), rows, cost)


def _gallery(
    scan: TableScan,
    views: Sequence[Section],
    statistics: Statistics,
    config: RefineConfig,
    options: ReportOptions,
) -> list[tuple[Section, list[Card]]]:
    picks = {view.name: view.top.picks() for view in views}
    chosen = [pick for some in picks.values() for pick in some]
    shown = look_up(scan, chosen, config, sources=options.sources)
    each = PICTURE_BYTES // max(1, len(chosen))
    cards = {place: make_card(one, statistics.judges, each) for place, one in shown.items()}
    found = [(view, [cards[pick.place] for pick in picks[view.name]]) for view in views]
    if refused := picks.get(REFUSED_VIEW):
        from qrefine.report.refused import Repairs  # torch takes seconds to import

        repairs = Repairs(config)
        told = [_refused(shown[pick.place], repairs) for pick in refused]
        found[-1] = (found[-1][0], [make_card(one, statistics.judges, each) for one in told])
    return found


def _refused(shown: Shown, repairs: Repairs) -> Shown:
    """A sample with the repair that was turned down; as it is where its image could not be read."""
    if not shown.image:
        return shown
    repair, note = repairs(shown.row, shown.image)
    return replace(shown, repair=repair, note=note)


def _charts(statistics: Statistics, bounds: Bounds) -> dict[str, Markup]:
    s = statistics
    marks = [("LQ", bounds.lq), ("MQ", bounds.mq), ("HQ", bounds.hq)]
    used = [p for p in range(len(PATHS)) if any(cells[p].count for cells in s.group_gain)]
    series = [
        (PATH_NAMES[PATHS[p]], [(m.mean, m.error, m.count) for m in (cells[p] for cells in s.group_gain)])
        for p in used
    ]
    statuses = [(name, name, s.statuses[name]) for name in ("refined", "kept", "failed")]
    return {
        "status": charts.shares(statuses, "Images by status"),
        "distributions": charts.distributions(s.histogram_before, s.histogram_after, marks),
        "density": charts.density(s.joint),
        "groups": charts.group_bars(GROUPS, series),
        **{
            f"judge:{judge.name}": charts.shares(
                [
                    ("better", "refined", judge.better),
                    ("same", "kept", judge.same),
                    ("worse", "failed", judge.worse),
                ],
                f"Judge {judge.name}",
            )
            for judge in s.judges
        },
    }


def _groups(statistics: Statistics) -> list[dict[str, Any]]:
    """The table under the chart of gains."""
    s = statistics
    return [
        {
            "name": name,
            "rows": int(s.group_rows[number]),
            "refined": int(s.group_refined[number]),
            "gains": [(PATH_NAMES[path], s.group_gain[number][p]) for p, path in enumerate(PATHS)],
            "judges": [judge.by_group[number] for judge in s.judges],
        }
        for number, name in enumerate(GROUPS)
    ]


def _worst(tallies: dict[str, Tally]) -> tuple[list[tuple[str, Tally]], int]:
    """The entries that need a look first (failures, then lowest quality), and how many there are in all."""
    ranked = sorted(
        tallies.items(), key=lambda item: (-item[1].failed, item[1].mean_after if item[1].scored else 0, item[0])
    )
    return ranked[:TABLE_ROWS], len(tallies)


def _fill(**values: Any) -> str:
    """The template with its style and script inside; the policy names the script's hash, so only that one runs."""
    folder = files("qrefine.report")
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")}
    digest = base64.b64encode(hashlib.sha256(texts["page.js"].encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": _number, "share": _share, "size": _size, "span": _span}
    template = environment.from_string(texts["page.html"])
    style, script = Markup(texts["page.css"]), Markup(texts["page.js"])
    return template.render(style=style, script=script, script_hash=digest, **values)


def _number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
