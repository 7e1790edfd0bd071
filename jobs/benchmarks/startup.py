"""Start to finish of the command on one small shard, in a process of its own, and where its time goes."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, seconds
from benchmarks.options import Options

IMPORTS = ("qrefine.cli.app", "ray.data", "torch", "qrefine.stream.driver")


def run(options: Options) -> list[Figure]:
    """Wall seconds; the best of three, with the operating system's caches warm."""
    shard = write_corpus(
        options.folder / "startup",
        shards=1,
        samples=16,
        side=options.of(512, 64),
        needy=0.25,
        photos=options.photos,
    )
    table = options.folder / "startup-table"
    command = [sys.executable, "-m", "qrefine.cli", "refine", *shard]
    rounds = options.of(3, 1)
    took = [seconds(lambda k=k: _run([*command, f"{table}-{k}"])) for k in range(rounds)]  # type: ignore[misc]
    figures = [Figure("`qrefine refine` of a shard of 16 images", min(took), "s", "15")]
    empty = min(seconds(lambda: _run([sys.executable, "-c", "pass"])) for _ in range(rounds))
    for name in IMPORTS:
        took = [seconds(lambda: _run([sys.executable, "-c", f"import {name}"])) for _ in range(rounds)]  # noqa: B023
        figures.append(Figure(f"import {name}", min(took) - empty, "s"))
    return figures


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[1:4]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
