"""Merges rows of many parts in the order of their index, in bounded memory; their values do not change.

Memory holds one row group of each part that is being read, and a part is opened only when the merge reaches its
lowest index. Parts of a run hardly overlap, so one or two are open at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.storage.retry import retrying
from qrefine.storage.store import Store
from qrefine.table.ledger import Rows
from qrefine.table.parts import Groups, Part, PartRecord
from qrefine.table.pieces import ReadColumns
from qrefine.table.schema import with_added


@dataclass(frozen=True)
class Source:
    """A part and which of its rows are taken."""

    path: str
    first: int  # no row that is taken has a lower index
    where: pc.Expression

    @classmethod
    def of(cls, path: str, shard: str, rows: Rows) -> Source:
        """The rows of a shard with these indexes."""
        return cls(path, next(iter(rows), 0), (pc.field("shard") == shard) & in_rows(rows))


def in_rows(rows: Rows) -> pc.Expression:
    """Whether a row's index is one of these."""
    return pc.field("index").isin(pa.array(list(rows), pa.int32()))


def part_reader(store: Store) -> ReadColumns:
    """A function that reads columns of a part in a table's folder."""

    def read(path: str, columns: Sequence[str]) -> pa.Table:
        with store.open(path) as file:
            return pq.read_table(file, columns=list(columns))

    return lambda path, columns: retrying(lambda: read(path, columns), path)


def in_order(store: Store, sources: Iterable[Source]) -> Iterator[pa.Table]:
    """The rows of one shard, in runs of ascending index; each run is a slice of a row group."""
    waiting = sorted(sources, key=lambda source: source.first, reverse=True)
    runs: list[tuple[int, int, _Reader]] = []  # (next index, a number that breaks ties, its reader)
    count = 0
    while waiting or runs:
        while waiting and (not runs or waiting[-1].first <= runs[0][0]):
            reader = _Reader(store, waiting.pop())
            if reader.advance():
                heapq.heappush(runs, (reader.index, count := count + 1, reader))
        if not runs:
            continue
        _, number, reader = heapq.heappop(runs)
        limit = min([runs[0][0]] if runs else [], default=None)
        if waiting:
            limit = waiting[-1].first if limit is None else min(limit, waiting[-1].first)
        yield reader.take(limit)
        if reader.advance():
            heapq.heappush(runs, (reader.index, number, reader))


class _Reader:
    """Reads the selected rows of a part; images only of row groups that have such rows."""

    def __init__(self, store: Store, source: Source) -> None:
        self._groups = _row_groups(store, source)
        self._rows: pa.Table = None
        self._indexes = np.empty(0, np.int32)
        self._position = 0

    @property
    def index(self) -> int:
        return int(self._indexes[self._position])

    def advance(self) -> bool:
        """Whether there are rows left; reads the next row group where the last one is used up."""
        while self._position >= len(self._indexes):
            self._rows = next(self._groups, None)
            if self._rows is None:
                return False
            self._indexes, self._position = self._rows["index"].to_numpy(), 0
        return True

    def take(self, limit: int | None) -> pa.Table:
        """The rows from here up to the index ``limit``, at least one."""
        start = self._position
        end = len(self._indexes) if limit is None else int(np.searchsorted(self._indexes, limit))
        self._position = max(start + 1, end)
        return self._rows.slice(start, self._position - start)


def _row_groups(store: Store, source: Source) -> Iterator[pa.Table]:
    with store.open(source.path) as file:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        light = [name for name in names if name != "image"]
        for group in range(parquet.num_row_groups):
            rows = parquet.read_row_group(group, columns=light)
            positions = pa.array(np.arange(rows.num_rows))
            kept = rows.append_column("position", positions).filter(source.where)
            if not kept.num_rows:
                continue
            images = parquet.read_row_group(group, columns=["image"])
            whole = rows.append_column("image", images["image"]).select(names)
            taken = kept["position"].take(pc.array_sort_indices(kept["index"].combine_chunks()))
            # what is merged has the same columns, however old the parts are
            yield with_added(whole if taken.combine_chunks().equals(positions) else whole.take(taken))


def regrouped(runs: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenates runs into row groups."""
    groups = Groups()
    for run in runs:
        if (group := groups.add(run)) is not None:
            yield group
    if (group := groups.rest()) is not None:
        yield group


def merge_parts(store: Store, sources: Sequence[Source], run: str, part_bytes: int) -> list[PartRecord]:
    """Copy rows of one shard unchanged into new parts of about ``part_bytes``, in the order of their index."""
    records, part = [], None
    for rows in in_order(store, sources):
        part = part or Part(store, run)
        part.add(rows)
        if part.bytes >= part_bytes:
            records.append(part.close())
            part = None
    return [*records, part.close()] if part else records
