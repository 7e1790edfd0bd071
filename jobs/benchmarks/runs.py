"""The job as a benchmark runs it, and the bare loops that it is measured against."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import stubs
from benchmarks.measure import say
from qrefine.config import RefineConfig, parse_config, sample_seed
from qrefine.corpus.images import decode
from qrefine.corpus.shards import read_shard
from qrefine.stages.refiner import MODEL_STAGES, build_stages, run_stages
from qrefine.stages.sample import Sample
from qrefine.storage.store import Store
from qrefine.stream.blocks import load_batch, raw_blocks, run_on_batch
from qrefine.stream.driver import Summary, refine
from qrefine.stream.write import Target, write_batch
from qrefine.table.schema import table_schema
from qrefine.table.table import Table

BATCHES = (1, 8, 32)  # that a bare loop may choose from
BLOCK = 2.0**20


def sleeping(seconds: float, stream: dict[str, Any] | None = None) -> RefineConfig:
    """Settings in which the mapper takes ``seconds`` an image, and so does each restoring stage."""
    name, options = f"{stubs.__name__}:{{}}", {"seconds": seconds}
    restorer = {"name": name.format("SleepingRestorer"), "options": options}
    return parse_config(
        {
            "mapper": {"name": name.format("SleepingMapper"), "options": options},
            "inpaint": restorer,
            "enhance": {"blind": restorer},
            "judges": [],
            "stream": stream or {},
        }
    )


def whole_job(shards: Sequence[str], config: RefineConfig) -> Summary:
    """`qrefine refine` of the shards into a table that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        summary = refine(shards, f"{folder}/table", config)
    if summary.failed:
        raise RuntimeError(f"{summary.failed} samples failed: {summary.errors}")
    return summary


def steady(table: Path, done: Callable[[Path], Sequence[float]], since: float) -> list[float]:
    """What a run did in a second, of each thing that ``done`` counts in a part, once all actors had started.

    Starting takes longer than the work where many start on few cores, and varies by seconds. Parts tell by their
    time what was done when; a line is laid through those from the share ``since`` on, but for the very end.
    """
    parts = sorted((path.stat().st_mtime, *done(path)) for path in table.glob("*.parquet"))
    times, *counts = np.array(parts).T
    late = slice(int(len(parts) * since), max(int(len(parts) * since) + 2, int(len(parts) * 0.95)))
    return [float(np.polyfit(times[late] - times[0], np.cumsum(count)[late], 1)[0]) for count in counts]


def job_over(shards: Sequence[str], samples: int, config: RefineConfig) -> Callable[[int], object]:
    """The job over as many shards of ``samples`` images as hold so many images; for `marginal_rates`."""
    return lambda count: whole_job(shards[: count // samples], config)


def in_memory(shards: Sequence[str], config: RefineConfig) -> float:
    """Images/s of one process that does nothing but run the models on decoded images, at its best batch size."""
    stages = build_stages(MODEL_STAGES, config)
    samples = [
        Sample(decode(raw.image, config.images), raw.prompt or "", sample_seed(raw.key, config.seed))
        for shard in shards
        for raw in read_shard(shard, config.images)
        if raw.image is not None
    ]
    run_stages(stages, samples[: max(BATCHES)])  # kernels compile, libraries load
    best = 0.0
    for batch in BATCHES:
        started = time.perf_counter()
        for start in range(0, len(samples), batch):
            run_stages(stages, samples[start : start + batch])
        rate = len(samples) / (time.perf_counter() - started)
        say(f"in memory, {torch.get_num_threads()} threads, batch {batch}: {rate:.2f} images/s")
        best = max(best, rate)
    return best


def bare_processes(shards: Sequence[str], config: RefineConfig, count: int) -> float:
    """Images/s of ``count`` processes that read, decode, run the models, encode and write, each its own shards.

    The same functions as the job's, without Ray, commits, lease and progress; their start-up is not counted.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(count) as pool:
        store = Table.open_or_create(Store.at(f"{folder}/table"), table_schema(config.judges)).store
        work = partial(_bare, config=config, store=store)
        pool.map(work, [[shards[0]]] * count, chunksize=1)  # imports and models, once in each
        started = time.perf_counter()
        done = sum(pool.map(work, [list(shards[k::count]) for k in range(count)], chunksize=1))
        return done / (time.perf_counter() - started)


_stages: dict[str, Any] = {}  # of a bare process, built once


def _bare(shards: Sequence[str], config: RefineConfig, store: Store) -> int:
    torch.set_num_threads(1)
    stages = _stages.setdefault(config.digest, build_stages(MODEL_STAGES, config))
    done = 0
    for shard in shards:
        for block in raw_blocks(read_shard(shard, config.images), BLOCK):
            for start in range(0, block.num_rows, config.stream.batch_size):
                batch = block.slice(start, config.stream.batch_size)
                worked = run_on_batch(load_batch(batch, stages, config), stages)
                write_batch(worked, Target(config, store, "bare"))
            done += block.num_rows
    return done
