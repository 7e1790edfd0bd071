"""Reads selected columns of a table's parts, in bounded memory, many small parts at a time.

Memory holds these columns of a few parts. Threads read parts ahead, since object storage is bound by latency; a
part of very many rows is streamed batch by batch instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from qrefine.config import Bounds
from qrefine.storage.ahead import ahead
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store
from qrefine.table.beside import ROW, Beside
from qrefine.table.lease import FOLDER
from qrefine.table.schema import with_added
from qrefine.table.table import Table

READERS = 8
READ_AHEAD = 16  # parts
STREAMED_ROWS = 50_000  # a part of more rows is not read whole
BATCH_ROWS = 8192
FETCH_ROWS = 16  # with their images: what memory holds while single rows are looked up


@dataclass(frozen=True)
class Part:
    """A committed Parquet file: its path below the root, bytes, rows."""

    path: str
    size: int
    rows: int


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a part, beginning with its row ``first``."""

    part: str
    first: int
    rows: pa.Table


class TableScan:
    """One version of a table, opened for reading; raises UserError where no table exists."""

    def __init__(self, store: Store) -> None:
        table = Table.open(store)
        self.root = store.url
        self.version = table.version
        self.schema = table.schema
        self.last_config = table.last_config()
        self._store, self._beside = store, Beside(store)
        actions = table.actions().select(["path", "size_bytes", "num_records"])
        self.parts = [Part(*row.values()) for row in actions.sort_by("path").to_pylist()]

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges' column names without ``_before`` and ``_after``, in the table's order."""
        names = set(self.schema.names)
        stems = (name.removesuffix("_before") for name in self.schema.names if name.endswith("_before"))
        own = (s for s in stems if f"{s}_after" in names and s not in ("quality", "quality_map"))
        return (*own, *self._beside.names)

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """All rows, these columns only, part by part in the order of their names."""

        def read(part: Part) -> Iterable[Chunk]:
            many = part.rows > STREAMED_ROWS  # read where it is consumed, batch by batch
            return self._stream(part.path, columns) if many else [self._read(part.path, columns)]

        try:
            for found in ahead(read, self.parts, READERS, READ_AHEAD):
                yield from found
        except OSError as error:
            raise storage_error(self.root, error) from error

    def rows(self, part: str, positions: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Single rows of a part by their positions, in that order; reads the row groups that hold them."""
        found: dict[int, dict[str, Any]] = {}
        wanted = sorted(set(positions))
        try:
            with self._store.open(part) as file:
                parquet = pq.ParquetFile(file)
                start = 0
                for group in range(parquet.metadata.num_row_groups):
                    end = start + parquet.metadata.row_group(group).num_rows
                    if any(start <= position < end for position in wanted):
                        self._pick(parquet, group, start, wanted, columns, found)
                    start = end
        except OSError as error:
            raise storage_error(self.root, error) from error
        return self._judged([found[position] for position in positions], columns)

    def _judged(self, rows: list[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
        """The rows with what lies beside the table for them."""
        wanted = self._beside.columns(columns)
        if not wanted or not rows:
            return rows
        places = pa.Table.from_pylist([{name: row[name] for name in ROW} for row in rows])
        places = places.set_column(1, "index", places["index"].cast(pa.int32()))
        scores = self._beside.added_to(places, wanted).select(wanted).to_pylist()
        return [row | more for row, more in zip(rows, scores, strict=True)]

    def settings(self, digest: str) -> dict[str, Any] | None:
        """The settings with this digest, where a run saved them beside the table; else None."""
        return self._json(f"config-{digest}.json")

    def bounds(self, digest: str | None) -> Bounds | None:
        """The bounds that rows of this configuration were made with; None where they were not saved."""
        try:
            found = self.settings(digest) if digest else None
            return Bounds.model_validate(found["bounds"]) if found else None
        except (KeyError, TypeError, ValidationError):
            return None

    def run_summary(self, run: str) -> dict[str, Any] | None:
        """The summary that a run wrote at its end: seconds, GPUs; None where it was killed before."""
        return self._json(f"run-{run}.json")

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            found = json.loads(self._store.read(f"{FOLDER}/{name}"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _read(self, part: str, columns: Sequence[str]) -> Chunk:
        with self._store.open(part) as file:
            rows = pq.ParquetFile(file).read(columns=self._own(columns), use_threads=False)
            return Chunk(part, 0, self._whole(rows, columns))

    def _stream(self, part: str, columns: Sequence[str]) -> Iterator[Chunk]:
        with self._store.open(part) as file:
            first = 0
            parquet = pq.ParquetFile(file)
            for batch in parquet.iter_batches(BATCH_ROWS, columns=self._own(columns), use_threads=False):
                yield Chunk(part, first, self._whole(pa.Table.from_batches([batch]), columns))
                first += batch.num_rows

    def _own(self, columns: Sequence[str]) -> list[str]:
        """What is read of a part for these columns."""
        beside = self._beside.columns(columns)
        return list(dict.fromkeys([*columns, *(ROW if beside else ())]))

    def _whole(self, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
        """Rows of a part with what lies beside, and nulls in columns that are newer than the part."""
        return self._beside.added_to(with_added(rows), columns)

    @staticmethod
    def _pick(
        parquet: pq.ParquetFile,
        group: int,
        start: int,
        wanted: Sequence[int],
        columns: Sequence[str],
        found: dict[int, dict[str, Any]],
    ) -> None:
        """Add the wanted rows of one row group to ``found``."""
        for batch in parquet.iter_batches(FETCH_ROWS, row_groups=[group], columns=list(columns)):
            for position in wanted:
                if start <= position < start + batch.num_rows:
                    found[position] = batch.slice(position - start, 1).to_pylist()[0]
            start += batch.num_rows
            if start > wanted[-1]:
                return
