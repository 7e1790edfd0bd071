"""Rows and parts as a run makes them, for the tests of tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import deltalake
import numpy as np
import pyarrow as pa

from qrefine.config import RefineConfig, load_config
from qrefine.quality.map import QualityMap
from qrefine.sample import Sample
from qrefine.storage.store import Store
from qrefine.table.parts import PartRecord, write_part
from qrefine.table.schema import make_row, table_schema
from tests.support import encoded, photo

CONFIG = load_config(None, ["mapper.grid=2"])
SCHEMA = table_schema(CONFIG.judges)
MAP = QualityMap(np.array([[0.25, 0.5], [0.75, 1.0]], dtype=np.float32))
BETTER = QualityMap(np.ones((2, 2), dtype=np.float32))
SOURCE = encoded(photo(size=24))


def rows(
    specs: list[tuple[int, str]],
    shard: str = "a.tar",
    total: int | None = None,
    *,
    version: str | None = "9-v",
    run: str = "r",
    config: RefineConfig = CONFIG,
) -> pa.Table:
    """Rows of a shard by index and status; the last one tells the total."""
    made: list[dict[str, Any]] = []
    for position, (index, status) in enumerate(specs):
        last = position == len(specs) - 1
        read = Sample(
            shard,
            index,
            f"k{index}",
            SOURCE,
            1,
            f"prompt {index}",
            shard_rows=total if last else None,
            shard_version=version,
        )
        kept = replace(read, size=(24, 24), before=MAP)
        image = encoded(photo("coffee", 24))
        done = {
            "refined": replace(kept, after=BETTER, output=image, stages=("inpaint",), judgements=((9.0, 8.0),)),
            "kept": kept,
            "failed": read.failed(f"OSError: broken at {index}"),
        }[status]
        made.append(make_row(done, config, run))
    return pa.Table.from_pylist(made, schema=SCHEMA)


def part(root: Path | str, table: pa.Table, run: str = "r", **options: Any) -> PartRecord:
    return write_part(Store.at(str(root)), [table], run)


def delta_rows(root: Path) -> pa.Table:
    return pa.table(deltalake.DeltaTable(str(root)).to_pyarrow_table())
