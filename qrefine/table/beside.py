"""Judges that were added later: each is a Delta table of its own below the table, joined by shard and index.

``TABLE/_judges/NAME`` holds ``NAME_before`` and ``NAME_after``. The table itself stays as it is, so no image is
copied and every reader opens it as before. ``run`` is that of the row that was judged: a row that was made again
since has no score until it is judged again. Other engines' vacuum leaves folders with an underscore alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from functools import lru_cache
from typing import Any

import pyarrow as pa

from qrefine.storage.store import Store
from qrefine.table.merge import part_reader
from qrefine.table.schema import judge_column, table_schema
from qrefine.table.table import Table

JUDGES = "_judges"
ROW = ("shard", "index", "run")
"""Names one row of one version of a table."""

CARRIED = (
    *("shard", "index", "status", "error", "quality_before", "quality_after"),
    *("config", "run", "shard_version", "shard_rows"),
)  # fmt: skip
"""The table's columns that a judge's table repeats: what the ledger plans by, and the scores to compare with."""

CACHED_SHARDS = 64


def pair_of(name: str) -> tuple[str, str]:
    return f"{name}_before", f"{name}_after"


def beside_schema(judge: str) -> pa.Schema:
    """The columns of a judge's table."""
    whole = table_schema([judge])
    return pa.schema([whole.field(name) for name in (*CARRIED, *pair_of(judge_column(judge)))])


def beside_store(store: Store, judge: str) -> Store:
    return store.join(f"{JUDGES}/{judge_column(judge)}")


class Beside:
    """The judges' tables below a table, opened at their newest versions, for reading."""

    def __init__(self, store: Store) -> None:
        found = {name: store.join(f"{JUDGES}/{name}") for name in _names(store)}
        tables = {name: Table.open(place) for name, place in found.items() if Table.exists(place)}
        self._stores = {name: table.store for name, table in tables.items()}
        self._parts = {name: _by_shard(table) for name, table in tables.items()}
        self._scores = lru_cache(CACHED_SHARDS)(self._read)

    def __getstate__(self) -> dict[str, Any]:
        return {"_stores": self._stores, "_parts": self._parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._scores = lru_cache(CACHED_SHARDS)(self._read)

    def of(self, shards: Iterable[str]) -> Beside:
        """The same for some shards alone: what another process needs for its share."""
        wanted, some = list(shards), copy(self)
        some._parts = {
            name: {shard: parts[shard] for shard in wanted if shard in parts}
            for name, parts in self._parts.items()
        }
        return some

    @property
    def names(self) -> tuple[str, ...]:
        """The judges' column names, without ``_before`` and ``_after``."""
        return tuple(self._stores)

    def fields(self, schema: pa.Schema) -> list[pa.Field]:
        """The columns here that a table of this schema does not have itself."""
        columns = [column for name in self.names for column in pair_of(name)]
        return [pa.field(column, pa.float32()) for column in columns if column not in schema.names]

    def columns(self, wanted: Iterable[str]) -> list[str]:
        """Those of the wanted columns that lie here."""
        mine = {column for name in self.names for column in pair_of(name)}
        return [column for column in wanted if column in mine]

    def added_to(self, rows: pa.Table, wanted: Sequence[str]) -> pa.Table:
        """The rows, which have the columns ROW, with their scores in the same order; null where there are none."""
        names = [name for name in self.names if set(pair_of(name)) & set(wanted)]
        for name in names:
            shards = rows["shard"].unique().to_pylist()
            scores = pa.concat_tables([self._scores(name, shard) for shard in shards])
            places = pa.array(range(rows.num_rows), pa.int64())
            numbered = rows.select(ROW).append_column("place", places)
            joined = numbered.join(scores, list(ROW), join_type="left outer").sort_by("place")
            for column in pair_of(name):
                rows = rows.append_column(column, joined[column])
        return rows

    def _read(self, name: str, shard: str) -> pa.Table:
        columns, read = [*ROW, *pair_of(name)], part_reader(self._stores[name])
        found = [read(path, columns) for path in self._parts[name].get(shard, ())]
        return pa.concat_tables([beside_schema(name).empty_table().select(columns), *found])


def _names(store: Store) -> list[str]:
    try:
        return store.names(JUDGES)
    except FileNotFoundError:
        return []


def _by_shard(table: Table) -> dict[str, list[str]]:
    parts: dict[str, list[str]] = {}
    for piece in table.pieces():
        parts.setdefault(piece.shard, []).append(piece.path)
    return parts
