"""(c) Daft: a generator explodes shards into samples, a batch function on a class runs the models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import daft
import torch
import webdataset
from daft import DataType, Series

from benchmarks.peers.work import Worker
from qrefine.config import RefineConfig

BATCH = 16
ROW = DataType.struct(
    {
        "key": DataType.string(),
        "status": DataType.string(),
        "image": DataType.binary(),
        "quality_before": DataType.float32(),
        "quality_after": DataType.float32(),
    }
)


@daft.func(return_dtype=DataType.struct({"key": DataType.string(), "jpg": DataType.binary()}))
def samples(shard: str) -> Iterator[dict[str, Any]]:
    for sample in webdataset.WebDataset([shard], shardshuffle=False, empty_check=False):
        yield {"key": sample["__key__"], "jpg": sample["jpg"]}


def run(shards: Sequence[str], out: str, config: RefineConfig, cores: int) -> None:
    @daft.cls(max_concurrency=cores, use_process=True)
    class Model:
        def __init__(self) -> None:
            torch.set_num_threads(1)
            self._worker = Worker(config)

        @daft.method.batch(return_dtype=ROW, batch_size=BATCH)
        def refine(self, keys: Series, images: Series) -> list[dict[str, Any]]:
            columns = self._worker(keys.to_pylist(), images.to_pylist())
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    rows = daft.from_pydict({"shard": list(shards)}).into_partitions(len(shards))
    found = rows.select(samples(daft.col("shard")).alias("sample"))
    found = found.select(found["sample"].get("key").alias("key"), found["sample"].get("jpg").alias("jpg"))
    done = found.select(Model().refine(found["key"], found["jpg"]).alias("row"))
    done.select(*(done["row"].get(name).alias(name) for name in ROW.fields)).write_parquet(out)
