"""A table as a map-style dataset of PyTorch: places in memory, images on demand, from parts or source shards."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.config import RefineConfig
from qrefine.storage.ahead import ahead
from qrefine.storage.store import Store
from qrefine.table.images import PLACE, Sources, image_bytes, opened
from qrefine.table.pieces import READERS
from qrefine.table.schema import with_added
from qrefine.table.table import Table
from qrefine.table.where import parse_where

HEAVY = ("image", "quality_map_before", "quality_map_after")
COLUMNS = ("key", "prompt", "quality_after")


class TableDataset:
    """Rows of a table for ``torch.utils.data.DataLoader``: a dict of ``columns`` and ``image``, a PIL image.

    Failed rows are left out, as are those for which ``where`` (see `parse_where`) does not hold. Rows are in the
    order of shard and index. Memory holds ``columns`` and the places of the selected rows; an item costs one range
    request of its shard, or one row group where the table stores the image. ``transform`` gets the dict.
    Raises UserError; an item raises SourceError where its image cannot be had.
    """

    def __init__(
        self,
        table: str,
        where: str | None = None,
        *,
        columns: Sequence[str] = COLUMNS,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self._store, self._transform, self._columns = Store.at(table, storage_options), transform, tuple(columns)
        self._options = storage_options or {}
        found = Table.open(self._store)
        light = pa.schema([field for field in found.schema if field.name not in HEAVY])
        holds = None if where is None else parse_where(where, light).expression
        paths = sorted({piece.path for piece in found.pieces()})
        rows = [*ahead(lambda path: self._read(path, holds), paths, READERS)]
        kinds = [(name, light.field(name).type) for name in dict.fromkeys([*PLACE, *self._columns])]
        empty = pa.schema(
            [*kinds, ("stored", pa.bool_()), ("part", pa.string()), ("row", pa.int64())]
        ).empty_table()
        order = [("shard", "ascending"), ("index", "ascending")]
        self._rows = pa.concat_tables([empty, *rows]).sort_by(order).combine_chunks()

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __getitem__(self, position: int) -> Any:
        row = self._rows.slice(range(len(self))[position], 1).to_pylist()[0]
        if row["stored"]:
            row["image"] = self._stored(row["part"], row["row"])
        data = image_bytes(row, sources=Sources(RefineConfig(storage_options=self._options)))
        item = {name: row[name] for name in self._columns} | {"image": opened(data)}
        return item if self._transform is None else self._transform(item)

    def _read(self, path: str, holds: pc.Expression | None) -> pa.Table:
        with self._store.open(path) as file:
            parquet = pq.ParquetFile(file)
            names = [name for name in parquet.schema_arrow.names if name not in HEAVY]
            rows = with_added(parquet.read(columns=names, use_threads=False))
            stored = _stores_images(parquet.metadata)
        rows = rows.append_column("stored", pa.array([stored] * rows.num_rows, pa.bool_()))
        rows = rows.append_column("part", pa.array([path] * rows.num_rows, pa.string()))
        rows = rows.append_column("row", pa.array(range(rows.num_rows), pa.int64()))
        kept = pc.field("status") != "failed"
        rows = rows.filter(kept if holds is None else kept & holds)
        return rows.select([*dict.fromkeys([*PLACE, *self._columns]), "stored", "part", "row"])

    def _stored(self, path: str, row: int) -> dict[str, Any] | None:
        """The image of a row of a part; reads the row group that holds it."""
        with self._store.open(path) as file:
            parquet = pq.ParquetFile(file)
            ends = [0]
            for group in range(parquet.metadata.num_row_groups):
                ends.append(ends[-1] + parquet.metadata.row_group(group).num_rows)
            group = bisect.bisect_right(ends, row) - 1
            found: dict[str, Any] | None = parquet.read_row_group(group, columns=["image"])["image"][
                row - ends[group]
            ].as_py()
        return found


def _stores_images(metadata: pq.FileMetaData) -> bool:
    """Whether a part holds any image: it takes no read of them."""
    places = [k for k in range(metadata.num_columns) if metadata.schema.column(k).path == "image.bytes"]
    groups = range(metadata.num_row_groups)
    return any(metadata.row_group(g).column(k).total_compressed_size > 1000 for g in groups for k in places)
