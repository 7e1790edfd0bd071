"""(b) webdataset and torch's DataLoader: workers read, decode and run the models, the main process writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import webdataset
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.peers.work import SCHEMA, Worker
from qrefine.config import RefineConfig

BATCH = 16


class Refined(IterableDataset[dict[str, Any]]):
    """Batches of rows; each worker process has the models and its share of the shards."""

    def __init__(self, shards: Sequence[str], config: RefineConfig) -> None:
        self._shards, self._config = list(shards), config

    def __iter__(self) -> Iterator[dict[str, Any]]:
        torch.set_num_threads(1)
        worker = Worker(self._config)
        samples = webdataset.WebDataset(self._shards, shardshuffle=False, empty_check=False)
        for batch in samples.to_tuple("__key__", "jpg").batched(BATCH, collation_fn=None):
            yield worker([key for key, _ in batch], [image for _, image in batch])


def run(shards: Sequence[str], out: str, config: RefineConfig, cores: int) -> None:
    batches = DataLoader(
        Refined(shards, config), batch_size=None, num_workers=cores, multiprocessing_context="spawn"
    )
    Path(out).mkdir(parents=True)
    with pq.ParquetWriter(f"{out}/part-0.parquet", SCHEMA) as writer:
        for rows in batches:
            writer.write_table(pa.table(rows, schema=SCHEMA))
