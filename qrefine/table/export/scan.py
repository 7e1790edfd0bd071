"""Reads columns of a table's parts for an export: each part once, several at a time, a row group in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from qrefine.storage.ahead import ahead
from qrefine.storage.retry import retrying
from qrefine.storage.store import Store
from qrefine.table.beside import ROW, Beside
from qrefine.table.schema import with_added

READERS = 8
T = TypeVar("T")


class Parts(Protocol):
    """What reading a table's parts takes: a `Table`, or a `Place`."""

    @property
    def store(self) -> Store: ...

    @property
    def schema(self) -> pa.Schema: ...


class Place(NamedTuple):
    """A table without its log, which may be large: what another process needs to read parts that it knows."""

    store: Store
    schema: pa.Schema


def scan(
    table: Parts,
    paths: Iterable[str],
    columns: Sequence[str],
    reduce: Callable[[pa.Table], T],
    beside: Beside | None = None,
) -> Iterator[list[T]]:
    """For each part, in the order of ``paths``: what ``reduce`` makes of each of its row groups' columns.

    ``reduce`` runs in threads. ``beside``: the scores of judges that were added later are columns too.
    """
    added = beside.columns(columns) if beside else []
    own = [name for name in columns if name not in added] + ([n for n in ROW if n not in columns] if added else [])

    def whole(rows: pa.Table) -> pa.Table:
        rows = _complete(with_added(rows), own, table.schema)
        return beside.added_to(rows, added) if beside and added else rows

    def read(path: str) -> list[T]:
        with table.store.open(path) as file:
            parquet = pq.ParquetFile(file)
            there = [name for name in own if name in parquet.schema_arrow.names]
            groups = (
                parquet.read_row_group(group, columns=there, use_threads=False)
                for group in range(parquet.num_row_groups)
            )
            return [reduce(whole(rows)) for rows in groups]

    return ahead(lambda path: retrying(lambda: read(path), path), paths, READERS, 2 * READERS)


def _complete(rows: pa.Table, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Columns that an older part lacks are null."""
    for name in columns:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, schema.field(name).type))
    return rows
