"""Checkpoints of the Delta log: all live parts as Parquet, made of the last one in bounded memory.

A checkpoint of 10^6 parts that is compressed anew takes 3 s of CPU. So one of a large table is in pieces, as Delta
has them (``<version>.checkpoint.<piece>.<pieces>.parquet``), and pieces that did not change are not made again.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.storage.ahead import ahead
from qrefine.table.log import Log, now_ms

EVERY = 100  # commits, where the table does not say another interval; Delta's default here
MOST = 1 << 16  # parts in a piece, or some more: a batch is not cut
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


def write_checkpoint(log: Log, most: int = MOST) -> None:
    """Write a checkpoint of the log's version; removals that are older than the retention are left out.

    A large table's is in pieces: one with all that is not a part, and others of about ``most`` parts. Those of the
    last checkpoint that no commit touched since are taken as they are, so that the cost is that of what changed.
    """
    if log.checkpoint == log.version:
        return
    touched = log.touched
    kept = {name: data for name, data in log.pieces() if _only_parts(data) and not _holds(data, touched)}
    *made, header = ahead(_parquet, _contents(log, kept.keys(), most), threads=1)
    log.checkpointed([header, *made, *kept.values()])


def _contents(log: Log, kept: Container[str], most: int) -> Iterator[list[pa.RecordBatch]]:
    """What the new pieces hold; the last one has the header, the removals and the rest of the parts."""
    oldest = now_ms() - retention_ms(log)
    header, parts, count = [_header(log)], list[pa.RecordBatch](), 0
    for entry in log.entries(without=kept):
        removed = pc.fill_null(entry.removes.field("deletionTimestamp"), 0)
        header += _batches("remove", entry.removes.filter(pc.greater_equal(removed, oldest)))
        parts += _batches("add", entry.adds)
        count += len(entry.adds)
        if count >= most:
            yield parts
            parts, count = [], 0
    yield [*header, *parts]


def _parquet(batches: Sequence[pa.RecordBatch]) -> bytes:
    file = io.BytesIO()
    # names and statistics do not repeat: a dictionary of them takes time and saves nothing
    with pq.ParquetWriter(file, SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return file.getvalue()


def _only_parts(data: bytes) -> bool:
    """Whether a piece's footer says that each of its rows is a live part."""
    footer = pq.read_metadata(pa.BufferReader(data))
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    paths = [
        column.statistics
        for group in groups
        for column in map(group.column, range(group.num_columns))
        if column.path_in_schema == "add.path"
    ]
    return len(paths) == len(groups) and all(one and one.has_null_count and not one.null_count for one in paths)


def _holds(data: bytes, paths: pa.Array) -> bool:
    """Whether a piece has one of these parts."""
    file = pq.ParquetFile(pa.BufferReader(data))
    its = (batch.column("add").field("path") for batch in file.iter_batches(columns=["add.path"]))
    return any(pc.any(pc.is_in(some, value_set=paths)).as_py() for some in its)


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


def _batches(name: str, array: pa.StructArray) -> list[pa.RecordBatch]:
    """Rows that hold only the action ``name``; none where there is nothing."""
    kind = SCHEMA.field(name).type
    count = len(array)
    if not count:
        return []
    given = {field.name: array.field(field.name) for field in array.type}
    given["dataChange"] = pa.array([True]).take(pa.array([0] * count))
    given["partitionValues"] = pa.array([[]] * count, STRINGS)
    struct = pa.StructArray.from_arrays([given[field.name] for field in kind], fields=list(kind))
    columns = [struct if field.name == name else pa.nulls(count, field.type) for field in SCHEMA]
    return [pa.RecordBatch.from_arrays(columns, schema=SCHEMA)]
