"""3. Scale: cost per image, memory, commits and plans as the corpus grows; images/s as GPUs are added.

GPUs are logical here: a sleeping model needs none, and what is measured is how well the stream keeps actors busy.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import ray

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, marginal_rates
from benchmarks.options import Options
from benchmarks.runs import job_over, sleeping
from qrefine.data.parts import PartRecord
from qrefine.data.schema import table_schema
from qrefine.data.table import Table
from qrefine.stream.driver import refine

TIMES = (1, 10, 50)
BASE_SHARDS = 2
GPUS = (1, 2, 4, 8)
SECONDS = 0.05  # an image in the mapper, and again in each stage that restores it
NEEDY = 0.3
SECONDS_PER_IMAGE = SECONDS * (1 + 3 * NEEDY)  # one score for all; two restorations and another score for some
SPARE_CPUS = 4  # for reading and writing, beside one for each actor


def run(options: Options) -> list[Figure]:
    return [*growth(options), *gpus(options)]


@dataclass(frozen=True)
class _Job:
    """What a run in a process of its own came to."""

    seconds: float
    images: int
    driver_mib: float  # peak
    plan_seconds: float  # of the next run over the table
    commit_seconds: float


def growth(options: Options) -> list[Figure]:
    """1, 10 and 50 times the shards, models that take no time; beside: the next plan, one more commit."""
    times = TIMES if not options.tiny else (1, 2)
    samples = options.of(200, 2)
    shards = write_corpus(
        options.folder / "growth", shards=BASE_SHARDS * times[-1], samples=samples, side=64, needy=0.25
    )
    jobs = {}
    for factor in times:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # its own peak of memory
            some = shards[: BASE_SHARDS * factor]
            jobs[factor] = pool.submit(_measured, some, options.folder / f"growth-{factor}").result()
    first, figures = jobs[times[0]], []
    for before, after in pairwise(times):
        a, b = jobs[before], jobs[after]
        cost = (b.seconds - a.seconds) / (b.images - a.images)
        figures.append(Figure(f"time per image from {before} x to {after} x the shards", cost * 1000, "ms"))
    for factor, job in jobs.items():
        figures += [
            Figure(
                f"driver's peak memory, {factor} x", job.driver_mib / first.driver_mib, "x",
                "1.10" if factor == times[-1] else "", f"{job.driver_mib:.0f} MiB",
            ),
            Figure(f"plan over the table of {factor} x", job.plan_seconds * 1000, "ms", "", f"{job.images} rows"),
            Figure(f"one commit to the table of {factor} x", job.commit_seconds * 1000, "ms"),
        ]  # fmt: skip
    return figures


def _measured(shards: Sequence[str], table: Path) -> _Job:
    config = sleeping(0.0)
    started = time.perf_counter()
    summary = refine(shards, str(table), config)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    opened = Table.open_or_create(str(table), table_schema(config.judges), {})
    opened.ledger()
    planned = time.perf_counter()
    opened.commit([_nothing()], run="benchmark")
    return _Job(seconds, summary.samples, peak, planned - started, time.perf_counter() - planned)


def _nothing() -> PartRecord:
    """A part of no rows: what a commit costs does not depend on what it says."""
    return PartRecord("nothing.parquet", 0, "", (), None, None, {}, "{}", {})


def gpus(options: Options) -> list[Figure]:
    """Share of the ideal rate with 1 to 8 logical GPUs, for a stable and a drifting mix of needs."""
    figures = []
    samples, shards = options.of(64, 4), options.of(24, 4)
    for drifting in (False, True):
        mix = "drifting" if drifting else "stable"
        paths = write_corpus(
            options.folder / mix, shards=shards, samples=samples, side=64, needy=NEEDY, drifting=drifting
        )
        for count in GPUS if not options.tiny else (2,):
            with _cluster(count):
                rates = marginal_rates(
                    {
                        topology: job_over(paths, samples, sleeping(SECONDS, {"topology": topology}))
                        for topology in (("colocated",) if count < len(GPUS) else ("colocated", "pooled"))
                    },
                    samples * shards // 4,
                    samples * shards,
                    rounds=1,
                )
            for topology, rate in rates.items():
                ideal = count / SECONDS_PER_IMAGE
                goal = {False: "0.95", True: "0.90"}[drifting] if count == 8 and topology == "colocated" else ""
                figures.append(
                    Figure(
                        f"{count} logical GPUs, {mix} mix, {topology}: share of the ideal", rate / ideal, "",
                        goal, f"{rate:.1f} of {ideal:.1f} images/s",
                    )
                )  # fmt: skip
    return figures


@contextmanager
def _cluster(gpus: int) -> Iterator[None]:
    """A local Ray that believes in so many GPUs."""
    ray.init(
        num_cpus=gpus + SPARE_CPUS,
        num_gpus=gpus,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()
