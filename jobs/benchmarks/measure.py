"""Shared by the benchmarks: figures, and rates without start-up and robust to other load on the machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line of a benchmark: name, value, and the goal if it has one."""

    name: str
    value: float
    unit: str
    goal: str = ""
    note: str = ""


def seconds(work: Callable[[], object]) -> float:
    """Wall time of the work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def marginal_rates(
    candidates: Mapping[str, Callable[[int], object]], small: int, large: int, rounds: int = 2
) -> dict[str, float]:
    """Images/s of each candidate beyond its start-up: (large - small) / (time of large - time of small).

    ``candidate(n)`` processes n images. Candidates take turns, and the best of the rounds counts for each size:
    other load on the machine only adds time. Raises ValueError if a large run was no slower than a small one.
    """
    best: dict[tuple[str, int], float] = {}
    for round_ in range(rounds):
        for name, candidate in candidates.items():
            for count in (small, large):
                took = seconds(lambda candidate=candidate, count=count: candidate(count))  # type: ignore[misc]
                best[name, count] = min(took, best.get((name, count), took))
                say(f"round {round_ + 1}: {name}, {count} images: {took:.2f} s")
    rates = {}
    for name in candidates:
        more = best[name, large] - best[name, small]
        if more <= 0:
            raise ValueError(f"{name}: {large} images took no longer than {small}; take more images")
        rates[name] = (large - small) / more
    return rates


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(title: str, figures: Sequence[Figure]) -> None:
    """The figures as a table on standard output."""
    table = Table("figure", "value", "goal", "note", title=title, title_justify="left")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.3g} {figure.unit}".strip(), figure.goal, figure.note)
    Console(width=140).print(table)


def as_json(results: Mapping[str, Sequence[Figure]], machine: Mapping[str, Any]) -> str:
    """All benchmarks of a run as JSON."""
    figures = {name: [asdict(figure) for figure in found] for name, found in results.items()}
    return json.dumps({"machine": dict(machine), "figures": figures}, indent=2) + "\n"
