"""(a) The plain Ray Data script of Ray's batch-inference guide: read_webdataset, map_batches, write_parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
import torch

from benchmarks.peers.work import Worker
from qrefine.config import RefineConfig

BATCH = 16


class Model:
    """The guide's callable class: models in the constructor, a batch of columns in and out."""

    def __init__(self, config: RefineConfig) -> None:
        torch.set_num_threads(1)
        self._worker = Worker(config)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self._worker(list(batch["__key__"]), list(batch["jpg"]))


def run(shards: Sequence[str], out: str, config: RefineConfig, cores: int) -> None:
    # decoder=None: the default one turns images into arrays, many times their size
    rows = ray.data.read_webdataset(list(shards), decoder=None, suffixes=["jpg"])
    # with the default of one CPU, actors on all cores leave none for the readers: a deadlock
    done = rows.map_batches(
        Model, fn_constructor_args=(config,), batch_size=BATCH, concurrency=cores, num_cpus=0.5
    )
    done.write_parquet(out)
