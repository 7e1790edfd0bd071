"""Tables for the report's tests, written by the same code as a run's, without Ray."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qrefine.config import RefineConfig
from qrefine.corpus.shards import read_shard
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.storage.store import Store
from qrefine.table.parts import write_part
from qrefine.table.schema import table_schema
from qrefine.table.table import Table
from qrefine.work.process import process
from qrefine.work.write import ROWS_AT_ONCE, Target, write
from tests.support import encoded, photo

RUN = "20260101T000000-00000000"
JUDGES = ("piqe", "liking")  # the second is unknown to the report: higher is better
PROMPTS = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "a cat & a dog", "{{ 7 * 7 }}")


def refined_table(shards: Iterable[Path], folder: Path, config: RefineConfig) -> Path:
    """The shards refined into a table in this process."""
    table = Table.open_or_create(Store.at(str(folder)), table_schema(config.judges))
    stages = build_stages(MODEL_STAGES, config)
    for shard in shards:
        samples = list(read_shard(str(shard), config.images))
        records = write(process(samples, stages, config), Target(config, table.store, RUN))
        table.commit(records, run=RUN, config=config.digest)
    return folder


def synthetic_rows(count: int, shard: str, rng: np.random.Generator, image: bytes) -> Iterator[dict[str, Any]]:
    """Rows as a run would write them, with every kind of status, stage and prompt; q is uniform."""
    for index in range(count):
        before = float(rng.uniform(0.05, 0.95))
        status = "failed" if index % 20 == 7 else "refined" if before < 0.7 else "kept"
        after = before + float(rng.uniform(0.01, 0.05)) if status == "refined" else before
        row: dict[str, Any] = {
            "key": f"{index:05d}",
            "shard": shard,
            "index": index,
            "status": status,
            "width": 96,
            "height": 96,
            "prompt": PROMPTS[index % len(PROMPTS)],
            "metadata": json.dumps({"generator": ("sdxl", "flux")[index % 2]}) if index % 5 else "no json",
            "stages": [],
            "run": RUN,
            "config": "0" * 16,
            "shard_rows": count if index == count - 1 else None,
        }
        if status == "failed":
            row["error"] = f"decode: not an image (begins with {index})"
        else:
            row |= {"image": {"bytes": image, "path": None}, "source_sha256": "none of any image"}
            row |= {"quality_before": before, "quality_after": after}
            row |= {"quality_map_before": [[before] * 2] * 2, "quality_map_after": [[after] * 2] * 2}
            row |= {"lq_fraction": float(before < 0.4), "mq_fraction": float(0.4 <= before < 0.7)}
        if status == "refined":
            row["stages"] = ["inpaint", "enhance_blind"] if index % 3 else ["inpaint"]
            row |= {"piqe_before": 40.0, "piqe_after": 30.0 + 20 * (index % 4 == 0)}
            row |= {"liking_before": 0.5, "liking_after": 0.6}
        yield row


def synthetic_table(folder: Path, shards: int, rows: int, part_rows: int, seed: int = 0) -> Path:
    """A table of ``shards`` x ``rows`` synthetic rows in parts of ``part_rows``."""
    schema = table_schema(JUDGES)
    table = Table.open_or_create(Store.at(str(folder)), schema)
    rng = np.random.default_rng(seed)
    image = encoded(photo(size=96), "JPEG")
    for shard in range(shards):
        members = list(synthetic_rows(rows, f"/gone/{shard:06d}.tar", rng, image))
        tables = pa.Table.from_pylist(members, schema=schema)
        records = [
            write_part(table.store, _row_groups(tables.slice(start, part_rows)), RUN)
            for start in range(0, rows, part_rows)
        ]
        table.commit(records, run=RUN, config="0" * 16)
    return folder


def _row_groups(rows: pa.Table) -> list[pa.Table]:
    """As a run writes them: a few rows each."""
    return [rows.slice(start, ROWS_AT_ONCE) for start in range(0, rows.num_rows, ROWS_AT_ONCE)]
