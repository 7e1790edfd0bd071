"""Parts: the Parquet files of a table. A part that is not in the Delta log does not exist."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from qrefine.data.ledger import Rows
from qrefine.data.storage import open_filesystem

PREFIX = "part-"


@dataclass(frozen=True)
class PartRecord:
    """What a worker tells the driver of a part: enough to commit it, and no more."""

    path: str  # below the table's root
    size: int
    shard: str
    rows: tuple[tuple[int, int], ...]  # ranges of the index, half open
    shard_rows: int | None
    statuses: dict[str, int]
    stats: str
    errors: dict[str, int]  # by kind
    extra_images: int = 0
    source_bytes: int = 0  # of the samples' images, as they lie in the shard
    quality_sums: tuple[float, float, int] = (0.0, 0.0, 0)  # before, after, scored rows

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
    root: str,
    storage_options: dict[str, Any],
    rows: pa.Table,
    run: str,
    *,
    extra_images: int = 0,
    source_bytes: int = 0,
) -> PartRecord:
    """Write rows of one shard under a name that is new on each attempt; nothing is visible until a commit."""
    shards = pc.unique(rows["shard"])
    if len(shards) != 1:
        raise ValueError(f"a part holds rows of one shard, not of {len(shards)}")
    rows = rows.sort_by("index")
    path = f"{PREFIX}{run}-{uuid.uuid4().hex}.parquet"
    data = encode_part(rows)
    filesystem, base = open_filesystem(root, storage_options)
    filesystem.pipe_file(f"{base}/{path}", data)
    total = pc.max(rows["shard_rows"]).as_py()
    return PartRecord(
        path=path,
        size=len(data),
        shard=shards[0].as_py(),
        rows=Rows(rows["index"].to_pylist()).ranges,
        shard_rows=total,
        statuses=dict(Counter(rows["status"].to_pylist())),
        stats=part_stats(rows),
        errors=dict(Counter(error_kind(e) for e in rows["error"].to_pylist() if e is not None)),
        extra_images=extra_images,
        source_bytes=source_bytes,
        quality_sums=_quality_sums(rows),
    )


def encode_part(rows: pa.Table) -> bytes:
    """Parquet bytes: images stored as they are (they are compressed already), the rest as zstd."""
    out = io.BytesIO()
    plain = [name for name in _leaves(rows.schema) if name != "image.bytes"]
    pq.write_table(
        rows,
        out,
        compression=dict.fromkeys(plain, "zstd") | {"image.bytes": "none"},
        use_dictionary=[name for name in plain if not name.startswith("quality_map")],
        write_statistics=[name for name in rows.column_names if name not in ("image", "prompt", "metadata")],
    )
    return out.getvalue()


def part_stats(rows: pa.Table) -> str:
    """Delta's statistics: with them a resume knows its rows from the log alone, and queries skip parts."""
    low, high, nulls = {}, {}, {}
    for name in ("shard", "index", "status", "quality_after", "shard_rows"):
        nulls[name] = rows[name].null_count
        if nulls[name] < rows.num_rows:
            extremes = pc.min_max(rows[name]).as_py()
            low[name], high[name] = extremes["min"], extremes["max"]
    return json.dumps({"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls})


def error_kind(error: str) -> str:
    """What comes before the first colon or bracket: errors are counted by kind, not by their numbers."""
    return error.partition(":")[0].partition("(")[0].strip()


def _quality_sums(rows: pa.Table) -> tuple[float, float, int]:
    before, after = rows["quality_before"], rows["quality_after"]
    scored = len(before) - before.null_count
    return (pc.sum(before).as_py() or 0.0, pc.sum(after).as_py() or 0.0, scored)


def _leaves(schema: pa.Schema) -> Sequence[str]:
    """Parquet's paths of the leaf columns."""
    names: list[str] = []

    def walk(path: str, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for field in kind:
                walk(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind):
            walk(f"{path}.list.element", kind.value_type)
        else:
            names.append(path)

    for field in schema:
        walk(field.name, field.type)
    return names
