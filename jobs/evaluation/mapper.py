"""Figures of the mapper: false alarms, where damage is and how much of it, what Q means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.markdown import Row
from evaluation.product import Product
from evaluation.sources import Effort, file_name, grouped
from training import figures
from training.contact import sheet
from training.degradations_cv2 import KINDS
from training.figures import Case, Image, Plane


def false_alarms(
    measured: Product, undamaged: Mapping[str, Mapping[str, Image]], sheets: Path | None
) -> list[list[str]]:
    """Area below B_MQ on undamaged pictures, by source."""
    maps = {name: measured.scores(list(found.values())) for name, found in undamaged.items()}
    rows = []
    for line, names in grouped(undamaged).items():
        every = [q for name in names for q in maps[name]]
        if not every:
            continue
        below = np.array([float((q < measured.mq).mean()) for q in every])
        rows.append([
            line, str(len(every)), f"{below.mean():.3f}", f"{(below > 0.5).mean():.0%}",
            f"{min(q.mean() for q in every):.2f}",
        ])  # fmt: skip
        if sheets and not line.startswith("look: "):
            shown = [p for name in names for p in undamaged[name].values()]
            order = np.argsort([q.mean() for q in every])[:60]
            cells = [(f"q {every[i].mean():.2f}, {below[i]:.0%} below", [shown[i], every[i]]) for i in order]
            sheet(sheets / f"alarms-{file_name(line)}.png", cells)
    return rows


def mapper_rows(
    measured: Product, photos: Sequence[Image], effort: Effort, seed: int
) -> tuple[list[Row], list[Plane], list[Case]]:
    """Where damage is and how much of it; and the maps and cases that say so."""
    rows: list[Row] = []
    maps: list[Plane] = []
    every: list[Case] = []
    for name, low, high, goal in (("above", 1 / 3, 1.0, ".985 / .90"), ("below", 0.05, 1 / 3, ".95 / .75")):
        of = list(figures.cases(photos, tuple(KINDS), low, high, effort.cases, seed))
        found = measured.scores([case.damaged for case in of])
        pairs = figures.patch_aucs(found, of)
        kinds, values = figures.mean_by_kind(pairs), [value for _, value in pairs]
        rows.append((
            f"patch AUC of 1 - Q, severity {name} a third ({low:.2f} to {high:.2f}): mean / worst kind", goal,
            f"{np.mean(values):.3f} / {min(kinds.values()):.2f} ({len(values)} images; lowest {lowest(kinds)})",
        ))  # fmt: skip
        maps, every = maps + found, every + of
    of = list(figures.cases(photos, tuple(KINDS), 0, 1, effort.ranks, seed + 1, local=False))
    found = measured.scores([case.damaged for case in of])
    ranks = figures.rank_correlations(found, of)
    rows.append((
        f"Spearman of q with severity by kind, mean of {len(ranks)}", ".90",
        f"{np.mean(list(ranks.values())):.3f} (lowest {lowest(ranks)})",
    ))  # fmt: skip
    return rows, maps + found, every + of


def lowest(by_kind: Mapping[str, float], count: int = 4) -> str:
    """The lowest, by name."""
    return ", ".join(f"{kind} {by_kind[kind]:.2f}" for kind in sorted(by_kind, key=by_kind.__getitem__)[:count])


def calibration_rows(maps: Sequence[Plane], of: Sequence[Case]) -> list[list[str]]:
    """Predicted against true quality."""
    edges = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.75, 0.8, 0.9, 0.95, 1.0]
    return [
        [f"{b.low:.2f} to {b.high:.2f}", str(b.patches), f"{b.predicted:.2f}", f"{b.true:.2f}",
         f"{b.decile:.2f}, {b.median:.2f}, {b.top:.2f}"]
        for b in figures.calibration(maps, of, edges)
    ]  # fmt: skip
