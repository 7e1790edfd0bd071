"""Charts as inline SVG. Colours are the page's CSS variables, so that they follow light and dark.

Each chart has a title and a description for screen readers; the page gives the same numbers in tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

WIDTH, HEIGHT = 400, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 26, 40


@dataclass(frozen=True)
class Axis:
    """Maps values in [low, high] to pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values within the axis, at most ``most`` + 1 of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        step = 10.0 ** math.floor(math.log10(span / most))
        step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [round(step * k, 10) for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def svg(body: Iterable[str], title: str, text: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """A chart from its elements; the title and text are escaped here, the elements must be already."""
    label = f"{escape(title)}. {escape(text)}"
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def _text(x: float, y: float, label: str, anchor: str = "middle", kind: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(label)}</text>'


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> list[str]:
    """Grid lines, tick labels and the axes' names."""
    parts = []
    for value in y.ticks():
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(_text(x.start - 6, y(value) + 4, f"{value:,g}", "end"))
    if x_label:
        parts += [_text(x(value), y.start + 16, f"{value:g}") for value in x.ticks()]
        parts.append(_text((x.start + x.end) / 2, y.start + 33, x_label, kind="name"))
    parts.append(_text(2, 12, y_label, "start", "name"))
    return parts


def _steps(counts: NDArray[np.int64], x: Axis, y: Axis) -> str:
    edges = np.linspace(x.low, x.high, len(counts) + 1)
    points = [f"{x(edges[0])},{y(0)}"]
    for k, count in enumerate(counts.tolist()):
        points += [f"{x(edges[k])},{y(count)}", f"{x(edges[k + 1])},{y(count)}"]
    return " ".join([*points, f"{x(edges[-1])},{y(0)}"])


def distributions(
    before: NDArray[np.int64], after: NDArray[np.int64], marks: Sequence[tuple[str, float]]
) -> Markup:
    """Two histograms over [0, 1], one over the other, with named marks on the axis."""
    x = Axis(0, 1, LEFT, WIDTH - RIGHT)
    y = Axis(0, max(1, int(before.max()), int(after.max())), HEIGHT - BOTTOM, TOP + 14)
    body = _frame(x, y, "quality q", "images")
    body.append(f'<polygon class="before" points="{_steps(before, x, y)}"/>')
    body.append(f'<polygon class="after" points="{_steps(after, x, y)}"/>')
    spread = sorted(marks, key=lambda mark: mark[1])
    for place, (name, value) in enumerate(spread):
        near = place > 0 and value - spread[place - 1][1] < 0.08
        body.append(f'<line class="mark" x1="{x(value)}" x2="{x(value)}" y1="{y.start}" y2="{TOP + 8}"/>')
        body.append(_text(x(value), TOP + (-8 if near else 4), name, kind="mark"))
    return svg(body, "Quality before and after", "Histograms of q over all scored images.")


def density(counts: NDArray[np.int64]) -> Markup:
    """How many refined images went from which q to which; the diagonal is no change."""
    side = 300
    x, y = Axis(0, 1, LEFT, side - RIGHT), Axis(0, 1, side - BOTTOM, TOP)
    cell = (x.end - x.start) / len(counts)
    most = max(1, int(counts.max()))
    body = _frame(x, y, "q before", "q after")
    for i, j in np.argwhere(counts > 0).tolist():
        level = 0.15 + 0.85 * math.log1p(int(counts[i, j])) / math.log1p(most)
        body.append(
            f'<rect class="cell" x="{x(i / len(counts))}" y="{y((j + 1) / len(counts))}" width="{cell:.2f}"'
            f' height="{cell:.2f}" opacity="{level:.2f}"/>'
        )
    body.append(f'<line class="mark" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    text = "Quality before against after; above the diagonal is a gain."
    return svg(body, "Where refined images moved", text, side, side)


def group_bars(groups: Sequence[str], series: Sequence[tuple[str, Sequence[tuple[float, float, int]]]]) -> Markup:
    """Mean gain by group, one bar per series with its 95 % interval; empty cells stay empty.

    A series is (name, one (mean, half interval, count) per group).
    """
    values = [(m, 0.0 if math.isnan(e) else e) for _, cells in series for m, e, n in cells if n]
    low = min([0.0, *(m - e for m, e in values)])
    high = max([0.01, *(m + e for m, e in values)])
    x = Axis(0, len(groups), LEFT, WIDTH - RIGHT)
    y = Axis(low, high * 1.08, HEIGHT - BOTTOM, TOP)
    body = _frame(x, y, "", "mean gain in q")
    width = (x(1) - x(0)) * 0.8 / max(1, len(series))
    for g, group in enumerate(groups):
        body.append(_text(x(g + 0.5), HEIGHT - BOTTOM + 18, group, kind="name"))
        for s, (name, cells) in enumerate(series):
            mean, error, count = cells[g]
            if not count:
                continue
            left = x(g) + (x(1) - x(0)) * 0.1 + s * width
            top, bottom = min(y(mean), y(0)), max(y(mean), y(0))
            body.append(
                f'<rect class="series{s}" x="{left + 2:.2f}" y="{top}" width="{width - 4:.2f}"'
                f' height="{max(1.0, bottom - top):.2f}"><title>{escape(name)}, {escape(group)}:'
                f" {mean:+.4f} over {count:,} images</title></rect>"
            )
            if not math.isnan(error):
                middle = left + width / 2
                body.append(
                    f'<line class="whisker" x1="{middle:.2f}" x2="{middle:.2f}" y1="{y(mean - error)}"'
                    f' y2="{y(mean + error)}"/>'
                )
    body.append(f'<line class="axis" x1="{x.start}" x2="{x.end}" y1="{y(0)}" y2="{y(0)}"/>')
    return svg(body, "Gain by quality group", "Mean gain of refined images by group and by what ran.")


def shares(parts: Sequence[tuple[str, str, int]], title: str) -> Markup:
    """One bar cut into (name, CSS class, count)."""
    total = sum(count for *_, count in parts) or 1
    x = Axis(0, total, 0, 1000)
    body, start = [], 0
    for name, kind, count in parts:
        if count:
            body.append(
                f'<rect class="{kind}" x="{x(start)}" y="0" width="{max(1.5, x(start + count) - x(start)):.2f}"'
                f' height="18"><title>{escape(name)}: {count:,}</title></rect>'
            )
        start += count
    text = ", ".join(f"{name} {count / total:.1%}" for name, _, count in parts)
    return Markup(
        f'<svg class="shares" viewBox="0 0 1000 18" preserveAspectRatio="none" role="img"'
        f' aria-label="{escape(title)}: {escape(text)}">{"".join(body)}</svg>'
    )
