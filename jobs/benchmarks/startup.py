"""Start to finish of the command on one small shard, in a process of its own, and where its time goes."""

from __future__ import annotations

import sys

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, command_seconds
from benchmarks.options import Options

IMPORTS = ("qrefine.cli", "ray.data", "torch", "qrefine.api")


def run(options: Options) -> list[Figure]:
    """Wall seconds of both executors by size, the best of three, with the operating system's caches warm.

    Where their lines cross is where ``stream.executor: auto`` should switch.
    """
    figures = []
    for samples in (4,) if options.tiny else (16, 64, 192):
        shard = write_corpus(
            options.folder / f"startup-{samples}",
            shards=1,
            samples=samples,
            side=options.of(512, 64),
            needy=0.25,
            photos=options.photos,
        )
        rounds = options.of(3 if samples == 16 else 1, 1)
        for executor, goal in (("local", "7"), ("ray", "15")):
            command = [
                sys.executable,
                "-m",
                "qrefine.cli",
                "refine",
                "--set",
                f"stream.executor={executor}",
                *shard,
            ]
            table = options.folder / f"table-{executor}-{samples}"
            took = [command_seconds([*command, f"{table}-{k}"]) for k in range(rounds)]
            name = f"`qrefine refine` of a shard of {samples} images, executor {executor}"
            figures.append(Figure(name, min(took), "s", goal if samples == 16 else ""))
    empty = min(command_seconds([sys.executable, "-c", "pass"]) for _ in range(3))
    for module in IMPORTS:
        took = [command_seconds([sys.executable, "-c", f"import {module}"]) for _ in range(3)]
        figures.append(Figure(f"import {module}", min(took) - empty, "s"))
    return figures
