"""3. Scale: cost per image, memory, commits and plans as the corpus grows; images/s as GPUs are added.

GPUs are logical: sleeping models need none, and the benchmark measures how well the stream keeps actors busy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import ray

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, peak_memory, say
from benchmarks.options import Options
from benchmarks.runs import sleeping, steady
from qrefine.api import refine
from qrefine.storage.store import Store
from qrefine.stream import pipeline
from qrefine.stream.pools import POOLED
from qrefine.table.parts import PartRecord
from qrefine.table.schema import table_schema
from qrefine.table.table import Table

TIMES = (1, 10, 50)
BASE_SHARDS = 2
GPUS = (1, 2, 4, 8)
SECONDS = 0.05  # per image in the mapper, and again in each restoring stage
NEEDY = 0.3
FAST = 0.005  # per image in the mapper, if no stage follows
SPARE_CPUS = 4  # for reading and writing, besides one per actor


def run(options: Options) -> list[Figure]:
    return [*growth(options), *gpus(options), *fast_model(options)]


@dataclass(frozen=True)
class _Job:
    """Measurements of a run in its own process."""

    seconds: float
    images: int
    driver_mib: float  # peak
    plan_seconds: float  # of the next run over the table
    commit_seconds: float


def growth(options: Options) -> list[Figure]:
    """1, 10 and 50 times the shards, models that take no time; also the next plan and one more commit."""
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
    config = sleeping(0.0, {"executor": "ray"})
    started = time.perf_counter()
    summary = refine(shards, str(table), config)
    seconds = time.perf_counter() - started
    peak = peak_memory() / 2**20
    started = time.perf_counter()
    opened = Table.open_or_create(Store.at(str(table)), table_schema(config.judges))
    opened.ledger()
    planned = time.perf_counter()
    opened.commit([_nothing()], run="benchmark")
    return _Job(seconds, summary.samples, peak, planned - started, time.perf_counter() - planned)


def _nothing() -> PartRecord:
    """A part without rows: the cost of a commit does not depend on the content."""
    return PartRecord("nothing.parquet", 0, "", (), None, None, {}, "{}", {})


def gpus(options: Options) -> list[Figure]:
    """Share of the ideal rate with 1 to 8 logical GPUs; with the most also a drifting mix and pools."""
    figures = []
    most = GPUS[-1] if not options.tiny else 2
    for count in GPUS if not options.tiny else (most,):
        for drifting in (False, True)[: 1 + (count == most)]:
            mix = "drifting" if drifting else "stable"
            paths = write_corpus(
                options.folder / f"{mix}-{count}", shards=options.of(24, 4), samples=options.of(16, 8) * count,
                side=64, needy=NEEDY, drifting=drifting,
            )  # fmt: skip
            for topology in ("colocated", "pooled")[: 1 + (count == most and count >= len(POOLED))]:
                share, rate = _share(paths, count, topology, options.folder / f"{mix}-{count}-{topology}")
                name = f"{count} logical GPUs, {mix} mix, {topology}: share of the ideal"
                goal = ("0.90" if drifting else "0.95") if (count, topology) == (8, "colocated") else ""
                figures.append(Figure(name, share, "", goal, f"{rate:.1f} images/s"))
                say(f"{name}: {share:.3f}")
    return figures


def fast_model(options: Options, calls: Sequence[int] = (1, pipeline.CALLS)) -> list[Figure]:
    """Share of the ideal if a GPU scores as fast as one core decodes: the GPU must not wait for decoding.

    ``calls`` are those that an actor takes at a time; with one it decodes and writes between its batches.
    """
    paths = write_corpus(
        options.folder / "fast", shards=options.of(8, 2), samples=options.of(256, 32), side=options.of(512, 64),
        needy=0, photos=options.photos,
    )  # fmt: skip
    figures = []
    for most in calls:
        share, rate = _share(paths, 1, "colocated", options.folder / f"fast-{most}", FAST, most)
        name = (
            f"1 logical GPU, scores of {FAST * 1000:g} ms, calls of an actor at a time: {most}, share of the ideal"
        )
        goal = "0.90" if most == pipeline.CALLS else ""
        figures.append(Figure(name, share, "", goal, f"{rate:.1f} images/s"))
    return figures


def _share(
    paths: Sequence[str],
    gpus: int,
    topology: str,
    table: Path,
    seconds: float = SECONDS,
    calls: int = pipeline.CALLS,
) -> tuple[float, float]:
    """Share of the GPUs' time that the models took, and images/s, in the second half of a run, without its end."""
    with _cluster(gpus), patch.object(pipeline, "CALLS", calls):
        refine(paths, str(table), sleeping(seconds, {"topology": topology, "part_rows": 8}))
    busy, images = steady(table, lambda part: _work(part, seconds), since=0.5)
    return busy / gpus, images


def _work(part: Path, seconds: float) -> tuple[float, int]:
    """Seconds of the sleeping models for the rows of a part, and the number of rows."""
    statuses = pq.read_table(part, columns=["status"])["status"].to_pylist()
    # one score for all rows; two restorations and another score for refined rows
    return seconds * (len(statuses) + 3 * statuses.count("refined")), len(statuses)


@contextmanager
def _cluster(gpus: int) -> Iterator[None]:
    """A local Ray with the given number of logical GPUs."""
    ray.init(
        address="local",  # not one that was started on this machine before
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
