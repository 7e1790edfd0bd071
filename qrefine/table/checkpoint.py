"""Checkpoints of the Delta log: all live parts in one Parquet file, made of the last one in bounded memory."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.table.log import Log, now_ms

EVERY = 100  # commits, where the table does not say another interval; Delta's default here
RETENTION_MS = 7 * 86_400_000  # of removals on record, likewise
UNITS_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000, "week": 604_800_000}
STRINGS = pa.map_(pa.string(), pa.string())
SCHEMA = pa.schema(
    [
        (
            "txn",
            pa.struct([("appId", pa.string()), ("version", pa.int64()), ("lastUpdated", pa.int64())]),
        ),
        (
            "add",
            pa.struct(
                [
                    ("path", pa.string()),
                    ("partitionValues", STRINGS),
                    ("size", pa.int64()),
                    ("modificationTime", pa.int64()),
                    ("dataChange", pa.bool_()),
                    ("stats", pa.string()),
                ]
            ),
        ),
        (
            "remove",
            pa.struct(
                [
                    ("path", pa.string()),
                    ("deletionTimestamp", pa.int64()),
                    ("dataChange", pa.bool_()),
                    ("size", pa.int64()),
                ]
            ),
        ),
        (
            "metaData",
            pa.struct(
                [
                    ("id", pa.string()),
                    ("name", pa.string()),
                    ("description", pa.string()),
                    ("format", pa.struct([("provider", pa.string()), ("options", STRINGS)])),
                    ("schemaString", pa.string()),
                    ("partitionColumns", pa.list_(pa.string())),
                    ("configuration", STRINGS),
                    ("createdTime", pa.int64()),
                ]
            ),
        ),
        (
            "protocol",
            pa.struct(
                [
                    ("minReaderVersion", pa.int32()),
                    ("minWriterVersion", pa.int32()),
                    ("readerFeatures", pa.list_(pa.string())),
                    ("writerFeatures", pa.list_(pa.string())),
                ]
            ),
        ),
    ]
)


def due(log: Log) -> bool:
    """Whether so many commits came since the last checkpoint that readers should get a new one."""
    every = int(log.configuration.get("delta.checkpointInterval", EVERY))
    return log.version - (-1 if log.checkpoint is None else log.checkpoint) >= every


def write_checkpoint(log: Log) -> None:
    """Write a checkpoint of the log's version; removals that are older than the retention are left out."""
    file, header = io.BytesIO(), _header(log)
    oldest, rows = now_ms() - retention_ms(log), header.num_rows
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        writer.write_batch(header)
        for entry in log.entries():
            removes = entry.removes.filter(
                pc.greater_equal(pc.fill_null(entry.removes.field("deletionTimestamp"), 0), oldest)
            )
            for name, array in (("add", entry.adds), ("remove", removes)):
                if len(array):
                    batch = _batch(name, array)
                    writer.write_batch(batch)
                    rows += batch.num_rows
    log.checkpointed(file.getvalue(), rows)


def retention_ms(log: Log) -> int:
    """How long parts stay that no longer are in the newest version; a table property."""
    text = log.configuration.get("delta.deletedFileRetentionDuration", "")
    found = re.fullmatch(r"(?:interval\s+)?(\d+)\s+([a-z]+?)s?", text.strip().lower())
    return int(found[1]) * UNITS_MS[found[2]] if found and found[2] in UNITS_MS else RETENTION_MS


def _header(log: Log) -> pa.RecordBatch:
    metadata: dict[str, Any] = json.loads(json.dumps(log.metadata))
    metadata["format"] = {**metadata.get("format", {}), "options": list(_pairs(metadata, "format", "options"))}
    metadata["configuration"] = list(log.configuration.items())
    rows: list[dict[str, Any]] = [{"protocol": log.protocol}, {"metaData": metadata}]
    rows += [{"txn": {"appId": name, "version": version}} for name, version in log.transactions.items()]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _pairs(values: dict[str, Any], *path: str) -> list[tuple[str, str]]:
    for name in path:
        values = values.get(name) or {}
    return list(values.items())


def _batch(name: str, array: pa.StructArray) -> pa.RecordBatch:
    """Rows that hold only the action ``name``."""
    kind = SCHEMA.field(name).type
    count = len(array)
    given = {field.name: array.field(field.name) for field in array.type}
    given["dataChange"] = pa.array([True]).take(pa.array([0] * count))
    given["partitionValues"] = pa.array([[]] * count, STRINGS)
    struct = pa.StructArray.from_arrays([given[field.name] for field in kind], fields=list(kind))
    columns = [struct if field.name == name else pa.nulls(count, field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
