"""The end of the stream: working rows become table rows, rows become parts, and the driver hears of them."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pyarrow as pa

from qrefine.config import RefineConfig
from qrefine.data.parts import write_part
from qrefine.data.schema import make_row, table_schema
from qrefine.stream.blocks import encode_row, outcome, raw_sample

RECORD = pa.schema([("record", pa.string())])


def write_batch(batch: pa.Table, config: RefineConfig, root: str, run: str) -> pa.Table:
    """Write one part per shard in the batch; gives the parts' records, which are small."""
    rows = batch.to_pylist()
    for row in rows:
        encode_row(row, config)
    schema = table_schema(config.judges)
    records = []
    for _, group in groupby(sorted(rows, key=_place), key=lambda row: row["shard"]):
        members = list(group)
        table = pa.Table.from_pylist([_row(row, config, run) for row in members], schema=schema)
        record = write_part(
            root,
            config.storage_options,
            table,
            run,
            extra_images=sum(max(0, row["images"] - 1) for row in members),
            source_bytes=sum(len(row["image"] or b"") for row in members),
        )
        records.append(record)
    return pa.table({"record": [record.to_json() for record in records]}, schema=RECORD)


def fail_batch(batch: pa.Table, config: RefineConfig, root: str, run: str, reason: str) -> pa.Table:
    """Write rows that never got through a pool as failed ones, without touching them again."""
    rows = [{**row, "error": row["error"] or reason} for row in batch.to_pylist()]
    table = pa.Table.from_pylist(rows, schema=batch.schema)
    return write_batch(table, config, root, run)


def _row(row: dict[str, Any], config: RefineConfig, run: str) -> dict[str, Any]:
    return make_row(raw_sample(row), outcome(row), config, run)


def _place(row: dict[str, Any]) -> tuple[str, int]:
    return row["shard"], row["index"]
