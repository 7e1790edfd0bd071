"""The selected rows in order, in lanes that threads can follow side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from qrefine.table.beside import Beside
from qrefine.table.export.scan import Place, scan
from qrefine.table.export.select import Indexes, Selection
from qrefine.table.merge import Source, in_order
from qrefine.table.pieces import Piece
from qrefine.table.table import Table

LANE_FILES = 4  # a lane has at least so many full files, and at most one that is not full


class Lane(NamedTuple):
    """Whole shards in a row, and the number of the first file that their samples go to."""

    first_file: int
    shards: tuple[str, ...]


class Reader:
    """Reads the selected rows of a table, shard by shard; memory holds a row group of each part that is open."""

    def __init__(
        self, table: Table, pieces: Sequence[Piece], selection: Selection, beside: Beside | None = None
    ) -> None:
        self._table, self._beside = Place(table.store, table.schema), beside
        self._added = beside.fields(table.schema) if beside else []
        self.schema = pa.schema([*table.schema, *self._added])
        self._selected = selection.rows
        ordered = sorted(pieces, key=lambda piece: (piece.shard, piece.first, piece.path))
        self._pieces = {shard: list(its) for shard, its in groupby(ordered, key=lambda piece: piece.shard)}

    def of(self, shards: Sequence[str]) -> Reader:
        """The same for some shards alone: what another process needs for its share."""
        some = copy(self)
        some._selected = {shard: self._selected[shard] for shard in shards}
        some._pieces = {shard: self._pieces[shard] for shard in shards}
        some._beside = self._beside and self._beside.of(shards)
        return some

    def indexes(self, shard: str) -> Indexes:
        return self._selected[shard]

    def names(self, shard: str) -> dict[int, list[str]]:
        """The names of the members of all samples of a shard, as the table knows them."""
        columns = ["shard", "index", "key", "members"]
        paths = sorted({piece.path for piece in self._pieces[shard]})
        found: dict[int, list[str]] = {}
        for part in scan(self._table, paths, columns, lambda rows: rows.filter(pc.field("shard") == shard)):
            for row in (row for group in part for row in group.to_pylist()):
                suffixes = row["members"] or ()
                found[row["index"]] = [f"{row['key']}.{suffix}" if suffix else row["key"] for suffix in suffixes]
        return found

    def rows(self, shard: str) -> Iterator[pa.Table]:
        """The selected rows of a shard by ascending index, each a table of one row; judges' scores too."""
        wanted = (pc.field("shard") == shard) & pc.field("index").isin(pa.array(self._selected[shard]))
        sources = [Source(piece.path, piece.first, wanted) for piece in self._pieces[shard]]
        added = [field.name for field in self._added]
        for run in in_order(self._table.store, sources):
            if self._beside is not None:
                run = self._beside.added_to(run, added)
            yield from (run.slice(row, 1) for row in range(run.num_rows))


def lanes(selection: Selection, samples: int) -> list[Lane]:
    """All shards in lanes; files have ``samples`` samples, but for the last one of each lane."""
    found: list[Lane] = []
    shards: list[str] = []
    count = first_file = 0
    for shard, indexes in selection.rows.items():
        shards.append(shard)
        count += len(indexes)
        if count >= LANE_FILES * samples:
            found.append(Lane(first_file, tuple(shards)))
            first_file += -(-count // samples)
            shards, count = [], 0
    return [*found, Lane(first_file, tuple(shards))] if shards else found
