"""The job as benchmarks run it, and the bare loops used as baselines."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import stubs
from benchmarks.measure import say
from qrefine.api import refine
from qrefine.config import RefineConfig, parse_config
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.stage import run_stages
from qrefine.storage.store import Store
from qrefine.table.schema import table_schema
from qrefine.table.table import Table
from qrefine.work.plans import ShardPlan, read_plan
from qrefine.work.process import load, process
from qrefine.work.refine import Summary
from qrefine.work.write import Target, write

BATCHES = (1, 8, 32)  # batch sizes tried by a bare loop
EXECUTORS = ("local", "ray")  # `auto` takes the first for small inputs


def sleeping(seconds: float, stream: dict[str, Any] | None = None) -> RefineConfig:
    """Settings in which the mapper and each restoring stage take ``seconds`` per image."""
    name, options = f"{stubs.__name__}:{{}}", {"seconds": seconds}
    restorer = {"name": name.format("SleepingRestorer"), "options": options}
    return parse_config(
        {
            "mapper": {"name": name.format("SleepingMapper"), "options": options},
            "inpaint": restorer,
            "enhance": {"blind": restorer},
            "judges": [],
            "accept": {"risk": None},  # the stubs answer for themselves
            "stream": stream or {},
        }
    )


def with_executor(config: RefineConfig, executor: str) -> RefineConfig:
    return config.model_copy(update={"stream": config.stream.model_copy(update={"executor": executor})})


def whole_job(shards: Sequence[str], config: RefineConfig) -> Summary:
    """`qrefine refine` of the shards into a temporary table."""
    with tempfile.TemporaryDirectory() as folder:
        summary = refine(shards, f"{folder}/table", config)
    if summary.failed:
        raise RuntimeError(f"{summary.failed} samples failed: {summary.errors}")
    return summary


def steady(table: Path, done: Callable[[Path], Sequence[float]], since: float) -> list[float]:
    """Rates per second of the quantities that ``done`` counts in a part, after all actors have started.

    If many actors start on few cores, starting takes longer than the work, and varies by seconds. So a line is
    fitted to the counts over the parts' modification times, from the share ``since`` on, without the last 5 %.
    """
    parts = sorted((path.stat().st_mtime, *done(path)) for path in table.glob("*.parquet"))
    times, *counts = np.array(parts).T
    late = slice(int(len(parts) * since), max(int(len(parts) * since) + 2, int(len(parts) * 0.95)))
    return [float(np.polyfit(times[late] - times[0], np.cumsum(count)[late], 1)[0]) for count in counts]


def job_over(shards: Sequence[str], samples: int, config: RefineConfig) -> Callable[[int], object]:
    """The job as a function of the number of images, with shards of ``samples`` images; for `marginal_rates`."""
    return lambda count: whole_job(shards[: count // samples], config)


def in_memory(shards: Sequence[str], config: RefineConfig) -> float:
    """Images/s of one process that only runs the models on decoded images, at its best batch size."""
    stages = build_stages(MODEL_STAGES, config)
    plans = [ShardPlan(shard, None) for shard in shards]
    samples = [load(sample, stages, config) for plan in plans for sample in read_plan(plan, config)]
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
    """Images/s of ``count`` processes that read, decode, run the models, encode and write their own shards.

    They call the job's functions, without Ray, commits, lease and progress; their start-up is not counted.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(count) as pool:
        store = Table.open_or_create(Store.at(f"{folder}/table"), table_schema(config.judges)).store
        work = partial(_bare, config=config, store=store)
        pool.map(work, [[shards[0]]] * count, chunksize=1)  # imports and models, once in each
        started = time.perf_counter()
        done = sum(pool.map(work, [list(shards[k::count]) for k in range(count)], chunksize=1))
        return done / (time.perf_counter() - started)


_stages: dict[str, Any] = {}  # built once per process


def _bare(shards: Sequence[str], config: RefineConfig, store: Store) -> int:
    torch.set_num_threads(1)
    stages = _stages.setdefault(config.digest, build_stages(MODEL_STAGES, config))
    done = 0
    target = Target(config, store, "bare")
    for shard in shards:
        samples = read_plan(ShardPlan(shard, None), config)
        while batch := list(islice(samples, config.stream.batch_size)):
            write(process(batch, stages, config), target)
            done += len(batch)
    return done
