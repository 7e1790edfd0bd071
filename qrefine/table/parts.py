"""Parts: the Parquet files of a table. A part that is not in the Delta log does not exist."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from qrefine.storage.errors import lost_store
from qrefine.storage.store import Store
from qrefine.table.ledger import Rows

PREFIX = "qrefine-"  # other engines write part-*: those are theirs to remove
STATISTICS = ("shard", "index", "status", "quality_after", "config", "shard_version", "shard_rows")
SPOOL_BYTES = 32 << 20  # a part of up to this size waits in memory for its upload, a larger one on disk


@dataclass(frozen=True)
class PartRecord:
    """What a worker tells the driver of a part: just enough to commit it."""

    path: str  # below the table's root
    size: int
    shard: str
    rows: tuple[tuple[int, int], ...]  # ranges of the index, half open
    shard_rows: int | None
    version: str | None  # of the shard
    statuses: dict[str, int]
    stats: str
    errors: dict[str, int]  # by kind
    extra_images: int = 0
    source_bytes: int = 0  # of the samples' images, as encoded in the shard
    quality_sums: tuple[float, float, int] = (0.0, 0.0, 0)  # before, after, scored rows
    decisions: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)  # what went wrong and failed no row

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> PartRecord:
        values = json.loads(text)
        values["rows"] = tuple(tuple(pair) for pair in values["rows"])
        values["quality_sums"] = tuple(values["quality_sums"])
        return cls(**values)

    def add_action(self) -> AddAction:
        return AddAction(self.path, self.size, {}, int(time.time() * 1000), True, self.stats)


def write_part(
    store: Store,
    tables: Iterable[pa.Table],
    run: str,
    *,
    extra_images: int = 0,
    source_bytes: int = 0,
    notes: Mapping[str, int] | None = None,
) -> PartRecord:
    """Write rows of one shard into a table's folder under a new name; nothing is visible until a commit.

    The tables are streamed, each into a row group of its own, into a local file. A failed upload is retried from
    that file, without a second pass through the models. Raises UserError where it fails.
    """
    path = f"{PREFIX}{run}-{uuid.uuid4().hex}.parquet"
    light = []
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as file, contextlib.ExitStack() as stack:
        writer = None
        for table in tables:
            if writer is None:
                writer = stack.enter_context(row_writer(file, table.schema))
            writer.write_table(table)
            light.append(table.select([name for name in table.column_names if name != "image"]))
        stack.close()  # writes the footer, before the size is read
        size = file.tell()
        try:
            store.upload(path, file)
        except Exception as error:  # not all of the stores' classes are OSErrors
            raise lost_store(store.url, error) from error
    rows = pa.concat_tables(light)
    shards = pc.unique(rows["shard"])
    if len(shards) != 1:
        raise ValueError(f"a part holds rows of one shard, not of {len(shards)}")
    return PartRecord(
        path=path,
        size=size,
        shard=shards[0].as_py(),
        rows=Rows(rows["index"].to_pylist()).ranges,
        shard_rows=pc.max(rows["shard_rows"]).as_py(),
        version=pc.max(rows["shard_version"]).as_py(),
        statuses=dict(Counter(rows["status"].to_pylist())),
        stats=part_stats(rows),
        errors=dict(Counter(error_kind(e) for e in rows["error"].to_pylist() if e is not None)),
        extra_images=extra_images,
        source_bytes=source_bytes,
        quality_sums=_quality_sums(rows),
        decisions=_decisions(rows),
        notes=dict(notes or {}),
    )


def row_writer(file: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Images are stored as they are (they are compressed already), the rest as zstd."""
    leaves = _leaves(schema)
    plain = [name for name in leaves if name != "image.bytes"]
    return pq.ParquetWriter(
        file,
        schema,
        compression=dict.fromkeys(plain, "zstd") | dict.fromkeys(set(leaves) - set(plain), "none"),
        use_dictionary=[name for name in plain if not name.startswith("quality_map")],
        write_statistics=[name for name in schema.names if name not in ("image", "prompt", "metadata")],
    )


def part_stats(rows: pa.Table) -> str:
    """Delta's statistics: with them a resume finds its rows in the log alone, and queries skip parts."""
    low, high, nulls = {}, {}, {}
    for name in STATISTICS:
        nulls[name] = rows[name].null_count
        if nulls[name] < rows.num_rows:
            extremes = pc.min_max(rows[name]).as_py()
            low[name], high[name] = extremes["min"], extremes["max"]
    return json.dumps({"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls})


def error_kind(error: str) -> str:
    """The text before the first colon or bracket: errors are counted by kind, whatever numbers they hold."""
    return error.partition(":")[0].partition("(")[0].strip()


def _decisions(rows: pa.Table) -> dict[str, int]:
    """How many rows each decision has; none in parts of a table that is older than the column."""
    if "decision" not in rows.column_names:
        return {}
    return dict(Counter(one for one in rows["decision"].to_pylist() if one is not None))


def _quality_sums(rows: pa.Table) -> tuple[float, float, int]:
    before, after = rows["quality_before"], rows["quality_after"]
    scored = len(before) - before.null_count
    return (pc.sum(before).as_py() or 0.0, pc.sum(after).as_py() or 0.0, scored)


def _leaves(schema: pa.Schema) -> Sequence[str]:
    """Parquet's paths of the leaf columns."""
    names: list[str] = []

    def walk(path: str, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for part in kind:
                walk(f"{path}.{part.name}", part.type)
        elif pa.types.is_list(kind):
            walk(f"{path}.list.element", kind.value_type)
        else:
            names.append(path)

    for leaf in schema:
        walk(leaf.name, leaf.type)
    return names
