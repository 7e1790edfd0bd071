"""0. Six figures for whoever changes the code, in five minutes on two cores: ``make bench-quick``.

Speeds are shares of what the same models reach in the same run without the rest: other machines give like figures.
"""

from __future__ import annotations

import os
import sys

from benchmarks.billion import in_process, parts_of_a_shard
from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, command_seconds, marginal_rates
from benchmarks.options import Options
from benchmarks.runs import bare_processes, job_over, with_executor
from benchmarks.scale import fast_model
from qrefine.config import RefineConfig
from qrefine.stream import pipeline

SHARDS = 8
ROWS = 3 * 10**6  # of the table that a commit is added to


def run(options: Options) -> list[Figure]:
    return [*loops(options), *start(options), *gpu(options), *table(options)]


def loops(options: Options) -> list[Figure]:
    """Scoring and refining in this process over plain processes that read, run the models and write."""
    figures = []
    jobs = {"scoring": (RefineConfig(stages=(), judges=()), 24), "refining": (RefineConfig(judges=()), 8)}
    for name, (config, full) in jobs.items():
        samples = options.of(full, 16)
        shards = _corpus(options, name, SHARDS, samples)
        job = job_over(shards, samples, with_executor(config, "local"))
        rate = marginal_rates({name: job}, samples, SHARDS * samples)[name]
        # the best of two, as the rate is: other load on the machine only takes
        bare = max(bare_processes(shards, config, os.cpu_count() or 2) for _ in range(options.of(2, 1)))
        note = f"{rate:.1f} and {bare:.1f} images/s of 512 px"
        figures.append(Figure(f"{name} / bare processes", rate / bare, "", "0.98", note))
    return figures


def start(options: Options) -> list[Figure]:
    """The command on an input of one image."""
    shard = _corpus(options, "one", 1, 1)
    command = [sys.executable, "-m", "qrefine.cli", "refine", *shard]
    took = [command_seconds([*command, str(options.folder / f"one-{k}")]) for k in range(options.of(3, 1))]
    return [Figure("start to finish of one image", min(took), "s", "7", "the best of three")]


def gpu(options: Options) -> list[Figure]:
    """How busy Ray keeps a GPU that scores as fast as one core decodes."""
    return fast_model(options, (pipeline.CALLS,))


def table(options: Options) -> list[Figure]:
    """One more commit, and the memory of a resume's plan."""
    rows = options.of(ROWS, 10**4)
    folder, parts = options.folder / "rows", parts_of_a_shard(rows)
    in_process("make", folder, rows, parts)
    plan, commit = (in_process(what, folder, rows, parts) for what in ("plan", "commit"))
    size = f"{rows // 1000 * parts:,} parts"
    return [
        Figure(f"commit to a table of {rows:.0e} rows", commit["a commit"], "s", "", size),
        Figure(
            "memory of planning its resume", plan["memory"] / 1e9, "GB", "", f"{plan['plan of a resume']:.2g} s"
        ),
    ]


def _corpus(options: Options, name: str, shards: int, samples: int) -> list[str]:
    return write_corpus(
        options.folder / name, shards=shards, samples=samples, side=options.of(512, 64), needy=0.25,
        photos=options.photos,
    )  # fmt: skip
