"""The Ray Data pipeline of a run: read, one map per pool, write. Without branches, which run the parent twice."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partial

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayError

from qrefine.config import Pool, RefineConfig
from qrefine.errors import BrokenRunError, UserError
from qrefine.stream.pools import HELPER_CPUS, PoolActor, Topology
from qrefine.stream.source import ShardSource
from qrefine.stream.writing import write_block
from qrefine.table.parts import PartRecord
from qrefine.work.plans import ShardPlan
from qrefine.work.write import Target

TASK_RETRIES = 1  # for tasks lost because another task killed their actor; a second loss is retried alone
BATCHES_AHEAD = 2  # batches per GPU task: one is decoded while one is processed; more would end unevenly
CALLS = 3  # of a GPU actor at a time: while the models have one's batch, others are decoded, encoded, uploaded
IN_FLIGHT = 2  # tasks per actor besides further calls: the next batch is ready when one ends
FULL = (CALLS + IN_FLIGHT - 1) / CALLS  # tasks per call of a busy actor: at Ray's 1.75 no pool would ever grow
ROW_BY_ROW = 1.0  # bytes: every row becomes a block of its own
READERS_PER_GPU = 2  # at least; a cluster that grows has few CPUs when the run begins
MOST_PARTS = 1_000_000  # of a corpus, as far as blocks may grow
LARGEST_BLOCK = 512 << 20  # bytes
BLOCKS_IN_STORE = 16  # for each actor, of which some are being read and some wait
BLOCKS_PER_ACTOR = 16  # for small inputs: at the end an actor waits about half a block for the others


def refine_stream(
    plans: Sequence[ShardPlan], topology: Topology, target: Target, *, alone: bool = False
) -> Dataset:
    """The planned shards through the pools into parts; its rows are the parts' records.

    ``alone``: one row in each block and batch, so that a row that kills its actor loses no other rows.
    """
    config = target.config
    DataContext.get_current().autoscaling_config.actor_pool_util_upscaling_threshold = FULL
    actors = max(pool.size for pool in topology.pools)
    batch_size = 1 if alone else config.stream.batch_size
    block = ROW_BY_ROW if alone else block_bytes(plans, actors, config)
    grown = block > config.stream.block_mb * 2**20
    dataset = _read(plans, target, block, topology.gpus)
    for position, pool in enumerate(topology.pools):
        with warnings.catch_warnings():
            # Ray 2.60 warns of arguments without a name, and max_task_retries has none
            warnings.simplefilter("ignore", DeprecationWarning)
            dataset = dataset.map_batches(
                PoolActor,
                fn_constructor_kwargs={
                    "pool": pool,
                    "target": target,
                    "slots": batch_size,
                    "writes": position == len(topology.pools) - 1,
                },
                # on GPUs batches are filled across blocks, where these are small; else each block is a task
                batch_size=(1 if alone else BATCHES_AHEAD * batch_size) if pool.gpus and not grown else None,
                batch_format="pyarrow",
                zero_copy_batch=True,
                compute=_strategy(pool, topology.elastic, alone),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
                max_task_retries=TASK_RETRIES,
            )
    return dataset


def failure_stream(plans: Sequence[ShardPlan], target: Target, reason: str) -> Dataset:
    """Writes the planned rows as failed, without running models."""
    return _read(plans, target, ROW_BY_ROW).map_batches(
        write_block,
        fn_kwargs={"target": target, "reason": reason},
        batch_size=1,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=HELPER_CPUS,
    )


def _strategy(pool: Pool, elastic: bool, alone: bool) -> ActorPoolStrategy:
    calls = CALLS if pool.gpus and not alone else 1
    strategy = partial(
        ActorPoolStrategy,
        max_tasks_in_flight_per_actor=1 if alone else calls + IN_FLIGHT - 1,
        max_concurrent_calls_per_actor=calls,
        enable_true_multi_threading=True,
    )
    # no upper bound but the cluster, which may grow
    return strategy(min_size=1, initial_size=pool.size) if elastic else strategy(size=pool.size)


def records(dataset: Dataset) -> Iterator[PartRecord]:
    """Run the dataset; yields the record of each part as soon as it is written.

    Raises UserError with the worker's message if a model cannot be loaded, BrokenRunError if Ray or the store
    fails for good.
    """
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                if row["broken"] is not None:
                    raise BrokenRunError(row["broken"])
                yield PartRecord.from_json(row["record"])
    except RayError as error:
        said = re.findall(rf"{UserError.__name__}: (.+)", str(error))  # the cause arrives as a worker's traceback
        if said:
            raise UserError(said[-1]) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BrokenRunError(
            f"Ray broke down: {reason}; what is committed stays: the same command continues"
        ) from error


def block_bytes(plans: Sequence[ShardPlan], actors: int, config: RefineConfig) -> float:
    """Encoded bytes in one block: the setting, less if the input is too small to feed all actors, and more if it
    is so large that its parts, which are no larger than blocks, would be too many for the table's log."""
    total = sum(plan.size or 0 for plan in plans)
    least = config.stream.block_mb * 2**20
    most = max(least, min(total / MOST_PARTS, LARGEST_BLOCK, _store_bytes() / (BLOCKS_IN_STORE * actors)))
    return min(most, total / (BLOCKS_PER_ACTOR * actors)) if total else least


def _store_bytes() -> float:
    return float(ray.cluster_resources().get("object_store_memory", 0))


def _read(plans: Sequence[ShardPlan], target: Target, block: float, gpus: float = 0) -> Dataset:
    DataContext.get_current().target_max_block_size = int(block)
    source = ShardSource(plans, target.config, block, target.run)
    return ray.data.read_datasource(
        source,
        override_num_blocks=source.task_count,  # else Ray splits blocks to feed all cores
        num_cpus=HELPER_CPUS,
        concurrency=max(1, int(_cpus() // 2), int(READERS_PER_GPU * gpus)),
    )


def _cpus() -> float:
    return float(ray.cluster_resources().get("CPU", 1))
