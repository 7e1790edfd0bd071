"""A Ray Data source of planned shards: blocks of encoded images, damage as failed rows, no committed rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask

from qrefine.config import RefineConfig
from qrefine.stream.metrics import RayMeter
from qrefine.work.border import SCHEMA, blocks
from qrefine.work.plans import ShardPlan, read_plan

MOST_TASKS = 10_000  # with more read tasks the driver is the bottleneck


class ShardSource(Datasource):
    """One read task per shard (several where there are very many), each streaming through its shard."""

    def __init__(self, plans: Sequence[ShardPlan], config: RefineConfig, block_bytes: float, run: str) -> None:
        super().__init__()
        group = -(-len(plans) // MOST_TASKS)
        self._groups = [plans[i : i + group] for i in range(0, len(plans), group)]
        self._config = config
        self._block_bytes = block_bytes
        self._run = run

    @property
    def task_count(self) -> int:
        return len(self._groups)

    def estimate_inmemory_data_size(self) -> int | None:
        return sum(plan.size or 0 for group in self._groups for plan in group) or None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        return [self._task(group, per_task_row_limit) for group in self._groups]

    def _task(self, plans: Sequence[ShardPlan], row_limit: int | None) -> ReadTask:
        config, block_bytes, run = self._config, self._block_bytes, self._run
        metadata = BlockMetadata(
            num_rows=None,
            size_bytes=sum(plan.size or 0 for plan in plans) or None,
            input_files=[plan.url for plan in plans],
            exec_stats=None,
        )
        return ReadTask(lambda: _read(plans, config, block_bytes, RayMeter(run)), metadata, SCHEMA, row_limit)


def _read(
    plans: Sequence[ShardPlan], config: RefineConfig, block_bytes: float, meter: RayMeter
) -> Iterator[pa.Table]:
    for plan in plans:
        for block in blocks(read_plan(plan, config), block_bytes):
            meter.add("read_bytes", pc.sum(pc.binary_length(block["source"])).as_py() or 0)
            yield block
