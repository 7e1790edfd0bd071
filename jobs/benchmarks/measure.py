"""Shared by the benchmarks: figures, and rates without start-up and robust to other load on the machine."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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


def peak_memory() -> int:
    """The most bytes that this process held at once.

    Linux keeps getrusage's figure over fork and exec, so that a small child of a large process would show the
    parent's; VmHWM begins anew with the program.
    """
    try:
        told = Path("/proc/self/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in told.splitlines() if line.startswith("VmHWM"))
    except FileNotFoundError:  # macOS, which counts bytes and begins anew
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def seconds(work: Callable[[], object]) -> float:
    """Wall time of the work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def child_environment() -> dict[str, str]:
    """In which other processes find these modules, and Ray's workers have the priority of any other process.

    By default they yield to everything else, so that other load on the machine would slow tools on Ray alone.
    """
    path = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    return {**os.environ, "PYTHONPATH": path, "RAY_worker_niceness": "0"}


def output_of(command: Sequence[str]) -> str:
    """What a command prints; raises RuntimeError with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=child_environment())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def answer_of(command: Sequence[str]) -> Any:
    """What a command prints on its last line, in JSON."""
    return json.loads(output_of(command).splitlines()[-1])


def command_seconds(command: Sequence[str]) -> float:
    """Wall time of a command; raises RuntimeError with what it said if it fails."""
    return seconds(lambda: output_of(command))


@dataclass(frozen=True)
class Turn:
    """Wall seconds of a candidate's small and large run in one round."""

    small: float
    large: float


def take_turns(
    candidates: Mapping[str, Callable[[int], object]], small: int, large: int, rounds: int
) -> dict[str, list[Turn]]:
    """Each candidate's turns; ``candidate(n)`` processes n images. Every round begins with another candidate."""
    turns: dict[str, list[Turn]] = {name: [] for name in candidates}
    names = list(candidates)
    for round_ in range(rounds):
        for name in [*names[round_ % len(names) :], *names[: round_ % len(names)]]:
            few, many = (
                seconds(lambda count=count, name=name: candidates[name](count))  # type: ignore[misc]
                for count in (small, large)
            )
            turns[name].append(Turn(few, many))
            say(f"round {round_ + 1}: {name}, {small} and {large} images: {few:.2f} and {many:.2f} s")
    return turns


def marginal_rates(
    candidates: Mapping[str, Callable[[int], object]], small: int, large: int, rounds: int = 2
) -> dict[str, float]:
    """Images/s of each candidate beyond its start-up: (large - small) / (time of large - time of small).

    The best of the rounds counts for each size: other load on the machine only adds time. Raises ValueError if a
    large run was no slower than a small one.
    """
    rates = {}
    for name, turns in take_turns(candidates, small, large, rounds).items():
        more = min(turn.large for turn in turns) - min(turn.small for turn in turns)
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
        value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
        table.add_row(figure.name, f"{value} {figure.unit}".strip(), figure.goal, figure.note)
    Console(width=140).print(table)


def as_json(results: Mapping[str, Sequence[Figure]], machine: Mapping[str, Any]) -> str:
    """All benchmarks of a run as JSON."""
    figures = {name: [asdict(figure) for figure in found] for name, found in results.items()}
    return json.dumps({"machine": dict(machine), "figures": figures}, indent=2) + "\n"
