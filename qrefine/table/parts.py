"""Parts: the Parquet files of a table. A part that is not in the Delta log does not exist."""

from __future__ import annotations

import json
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.storage.errors import lost_store
from qrefine.storage.store import Store
from qrefine.table.ledger import Rows

PREFIX = "qrefine-"  # other engines write part-*: those are theirs to remove
STATISTICS = ("shard", "index", "status", "quality_after", "config", "shard_version", "shard_rows")
TOLD = (*STATISTICS, "error", "decision", "quality_before")  # columns that records and statistics are made of
SPOOL_BYTES = 32 << 20  # a part of up to this size waits in memory for its upload, a larger one on disk
GROUP_BYTES = 16 << 20  # of a row group
GROUP_ROWS = 1024


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

    def add_action(self, now_ms: int) -> dict[str, Any]:
        """Delta's action that adds the part."""
        return {
            "path": self.path,
            "partitionValues": {},
            "size": self.size,
            "modificationTime": now_ms,
            "dataChange": True,
            "stats": self.stats,
        }


class Part:
    """A part under way: rows of one shard, row group by row group, in a local file; memory holds one group.

    `close` uploads it under a new name; nothing is visible until a commit. A failed upload is retried from the
    file, without a second pass through the models.
    """

    def __init__(self, store: Store, run: str) -> None:
        self.rows = self.bytes = 0  # so far; bytes as in memory, which images dominate
        self._store, self._path = store, f"{PREFIX}{run}-{uuid.uuid4().hex}.parquet"
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  # closed by `close`
        self._writer: pq.ParquetWriter | None = None
        self._groups = Groups()
        self._light: list[pa.Table] = []
        self._extra_images = self._source_bytes = 0
        self._notes: Counter[str] = Counter()

    def count(self, extra_images: int, source_bytes: int, notes: Mapping[str, int]) -> None:
        """What the record tells besides the rows."""
        self._extra_images += extra_images
        self._source_bytes += source_bytes
        self._notes.update(notes)

    def add(self, rows: pa.Table) -> None:
        self.rows += rows.num_rows
        self.bytes += rows.nbytes
        self._light.append(rows.select([name for name in TOLD if name in rows.column_names]))
        self._write(self._groups.add(rows))

    def close(self) -> PartRecord:
        """The record of the uploaded part; raises UserError where the upload fails."""
        self._write(self._groups.rest())
        if self._writer is not None:
            self._writer.close()  # writes the footer, before the size is read
        with self._file as file:
            size = file.tell()
            try:
                self._store.upload(self._path, file)
            except Exception as error:  # not all of the stores' classes are OSErrors
                raise lost_store(self._store.url, error) from error
        rows = pa.concat_tables(self._light)
        shards = pc.unique(rows["shard"])
        if len(shards) != 1:
            raise ValueError(f"a part holds rows of one shard, not of {len(shards)}")
        return PartRecord(
            path=self._path,
            size=size,
            shard=shards[0].as_py(),
            rows=Rows(rows["index"].to_pylist()).ranges,
            shard_rows=pc.max(rows["shard_rows"]).as_py(),
            version=pc.max(rows["shard_version"]).as_py(),
            statuses=dict(Counter(rows["status"].to_pylist())),
            stats=part_stats(rows),
            errors=dict(Counter(error_kind(e) for e in rows["error"].to_pylist() if e is not None)),
            extra_images=self._extra_images,
            source_bytes=self._source_bytes,
            quality_sums=_quality_sums(rows),
            decisions=_decisions(rows),
            notes=dict(self._notes),
        )

    def _write(self, group: pa.Table | None) -> None:
        if group is None:
            return
        if self._writer is None:
            self._writer = row_writer(self._file, group.schema)
        self._writer.write_table(group, row_group_size=group.num_rows)


def write_part(store: Store, tables: Iterable[pa.Table], run: str) -> PartRecord:
    """Write rows of one shard as a part."""
    part = Part(store, run)
    for table in tables:
        part.add(table)
    return part.close()


class Groups:
    """Gathers tables into row groups of about GROUP_ROWS or GROUP_BYTES, which suits readers."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._rows = self._bytes = 0

    def add(self, table: pa.Table) -> pa.Table | None:
        """A row group, where this table completes one."""
        self._tables.append(table)
        self._rows, self._bytes = self._rows + table.num_rows, self._bytes + table.nbytes
        return self.rest() if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES else None

    def rest(self) -> pa.Table | None:
        """What is left."""
        tables, self._tables, self._rows, self._bytes = self._tables, [], 0, 0
        return pa.concat_tables(tables) if tables else None


def row_writer(file: Any, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Images are stored as they are (they are compressed already), the rest as zstd; ``options`` are pyarrow's."""
    leaves = dict(_leaves(schema))
    images = [name for name, kind in leaves.items() if pa.types.is_binary(kind)]
    plain = [name for name in leaves if name not in images]
    unsorted = {"prompt", "metadata", *(name.partition(".")[0] for name in images)}
    return pq.ParquetWriter(
        file,
        schema,
        compression=dict.fromkeys(plain, "zstd") | dict.fromkeys(images, "none"),
        use_dictionary=[name for name in plain if not name.startswith("quality_map")],
        write_statistics=[name for name in schema.names if name not in unsorted],
        **options,
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


def _leaves(schema: pa.Schema) -> Sequence[tuple[str, pa.DataType]]:
    """Parquet's paths of the leaf columns, and their types."""
    found: list[tuple[str, pa.DataType]] = []

    def walk(path: str, kind: pa.DataType) -> None:
        if pa.types.is_struct(kind):
            for part in kind:
                walk(f"{path}.{part.name}", part.type)
        elif pa.types.is_list(kind):
            walk(f"{path}.list.element", kind.value_type)
        else:
            found.append((path, kind))

    for leaf in schema:
        walk(leaf.name, leaf.type)
    return found
