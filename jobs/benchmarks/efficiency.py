"""1. Efficiency: images/s of the whole job over images/s of bare loops that call the same models."""

from __future__ import annotations

import os

from benchmarks.corpus import DISTINCT, write_corpus
from benchmarks.measure import Figure, marginal_rates, say
from benchmarks.options import Options
from benchmarks.runs import EXECUTORS, bare_processes, in_memory, job_over, sleeping, with_executor
from qrefine.config import RefineConfig

# seconds per image, images per shard (enough that the difference of two runs is seconds), goal
SLEEPS = ((0.050, 30, "0.97"), (0.005, 80, "0.90"), (0.0, 120, "0.75"))
SHARDS = 8


def run(options: Options) -> list[Figure]:
    """By executor: embedded models against one process in memory; sleeping models against two bare processes."""
    processes = os.cpu_count() or 2
    samples = options.of(DISTINCT, 2)  # so that all shards have the same work
    photos = _shards(options, "photos", options.of(512, 96), samples)
    config = RefineConfig(judges=())
    bare = in_memory(photos[: options.of(2, 1)], config)
    figures = [
        Figure(f"{executor} / one process in memory, embedded models", job / bare, "", "0.95", _rates(job, bare))
        for executor, job in _jobs(options, photos, samples, config).items()
    ]
    for seconds, full, goal in SLEEPS:
        samples = options.of(full, 2)
        shards = _shards(options, f"sleep-{seconds:g}", options.of(512, 64), samples)
        bare = bare_processes(shards, sleeping(seconds), processes)
        for executor, job in _jobs(options, shards, samples, sleeping(seconds)).items():
            name = f"{executor} / {processes} bare processes, models of {seconds * 1000:g} ms"
            figures.append(Figure(name, job / bare, "", goal, _rates(job, bare)))
            say(f"{name}: {job / bare:.2f}")
    return figures


def _jobs(options: Options, shards: list[str], samples: int, config: RefineConfig) -> dict[str, float]:
    """Images/s of the whole job by executor; tiny ones without Ray, whose start varies by more than they take."""
    executors = EXECUTORS[: options.of(2, 1)]
    jobs = {name: job_over(shards, samples, with_executor(config, name)) for name in executors}
    return marginal_rates(jobs, 2 * samples, SHARDS * samples)  # in both all actors come to work


def _shards(options: Options, name: str, side: int, samples: int) -> list[str]:
    return write_corpus(
        options.folder / name, shards=SHARDS, samples=samples, side=side, needy=0.25, photos=options.photos
    )


def _rates(job: float, bare: float) -> str:
    return f"{job:.2f} of {bare:.2f} images/s; start-up not counted"
