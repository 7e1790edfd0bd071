"""Which rows an export holds: a condition, and the best share of the rows that it leaves.

Only the columns that decide are read. Memory holds four bytes for each selected row, and for a share four to eight
more for each row that the condition leaves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qrefine.errors import UserError
from qrefine.table.beside import Beside
from qrefine.table.export.scan import scan
from qrefine.table.pieces import Piece
from qrefine.table.table import Table
from qrefine.table.where import Condition, parse_where

Indexes = NDArray[np.int32]
FIELD = "metadata."  # --per metadata.NAME groups by a field of the samples' json


@dataclass(frozen=True)
class Choice:
    """What is asked for; every part of it is optional."""

    where: str | None = None  # see `parse_where`
    top: float | None = None  # the share with the highest ``by``, in (0, 1]
    by: str | None = None  # a column of numbers; rows without a number are never among the top
    per: str | None = None  # a column, or ``metadata.NAME``: the share is taken of each of its values
    lower_is_better: bool = False  # the share with the lowest


class Selection(NamedTuple):
    """The selected rows by shard, and how many there were to choose from."""

    rows: dict[str, Indexes]  # in the order of the shards' names, each ascending
    candidates: int  # rows that did not fail, or that were refined

    @property
    def total(self) -> int:
        return sum(map(len, self.rows.values()))


class _Found(NamedTuple):
    """The rows of one row group that the condition leaves."""

    candidates: int
    shards: pa.DictionaryArray
    indexes: Indexes
    by: NDArray[Any]
    groups: pa.DictionaryArray | None


def select(table: Table, pieces: Sequence[Piece], choice: Choice, refined: bool = False) -> Selection:
    """The selected rows that did not fail, or of those ``refined``. Raises UserError.

    Equal values of ``by`` are taken in the order of shard and index.
    """
    beside = Beside(table.store)
    schema = _schema(table, beside)
    _check(schema, choice)
    condition = Condition(pc.scalar(True), ()) if choice.where is None else parse_where(choice.where, schema)
    candidate = pc.field("status") == "refined" if refined else pc.field("status") != "failed"
    per = "metadata" if (choice.per or "").startswith(FIELD) else choice.per
    wanted = {"shard", "index", "status", *condition.columns, *(name for name in (choice.by, per) if name)}

    def reduce(rows: pa.Table) -> _Found:
        sound = rows.filter(candidate)
        left = sound.filter(condition.expression)
        by = left[choice.by].to_numpy() if choice.by else np.empty(0)
        groups = _groups(left[per], choice.per) if per and choice.per else None
        return _Found(sound.num_rows, _encoded(left["shard"]), left["index"].to_numpy(), by, groups)

    paths = sorted({piece.path for piece in pieces})
    found = [one for part in scan(table, paths, sorted(wanted), reduce, beside) for one in part]
    by_shard = _by_shard(found, choice)
    return Selection(by_shard, sum(one.candidates for one in found))


def _check(schema: pa.Schema, choice: Choice) -> None:
    if choice.top is None and (choice.by or choice.per):
        raise UserError("--by and --per belong to --top")
    if choice.top is None:
        return
    if not 0 < choice.top <= 1:
        raise UserError(f"--top {choice.top:g}: a share above 0, and at most 1")
    if choice.by is None:
        raise UserError("--top needs --by COLUMN, such as --by quality_before")
    numbers = [field.name for field in schema if _is_number(field.type)]
    if choice.by not in numbers:
        raise UserError(f"--by {choice.by}: no column of numbers has this name (there are {', '.join(numbers)})")
    simple = [field.name for field in schema if not pa.types.is_nested(field.type)]
    if choice.per and choice.per not in simple and not choice.per.startswith(FIELD):
        raise UserError(
            f"--per {choice.per}: there is no such column (there are {', '.join(simple)}, and {FIELD}NAME)"
        )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _schema(table: Table, beside: Beside) -> pa.Schema:
    """The columns that a choice may name: without images, with the scores of judges that were added later."""
    own = table.schema.remove(table.schema.get_field_index("image"))
    return pa.schema([*own, *beside.fields(own)])


def _groups(column: pa.ChunkedArray, per: str) -> pa.DictionaryArray:
    if per.startswith(FIELD):
        column = pa.chunked_array(
            [[_field(text, per.removeprefix(FIELD)) for text in column.to_pylist()]], pa.string()
        )
    return _encoded(column)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    return column.combine_chunks().dictionary_encode(null_encoding="encode")


def _field(text: str | None, name: str) -> str | None:
    """A field of a json object as text; None where there is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return json.dumps(found[name], sort_keys=True) if isinstance(found, dict) and name in found else None


def _by_shard(found: Sequence[_Found], choice: Choice) -> dict[str, Indexes]:
    found = [one for one in found if len(one.indexes)]
    if not found:
        return {}
    shards, names = _codes([one.shards for one in found])
    indexes = np.concatenate([one.indexes for one in found])
    order = np.lexsort((indexes, shards))
    if choice.top is not None:
        by = np.concatenate([one.by for one in found])[order]
        groups = _codes([one.groups for one in found])[0][order] if choice.per else np.zeros(len(by), np.int32)
        order = order[_top(by, groups, choice.top, choice.lower_is_better)]
    shards, indexes = shards[order], indexes[order]
    starts = np.flatnonzero(np.diff(shards, prepend=-1))
    return {
        names[shards[start]]: rows
        for start, rows in zip(starts.tolist(), np.split(indexes, starts[1:]), strict=bool(len(starts)))
    }


def _codes(columns: Sequence[pa.DictionaryArray]) -> tuple[NDArray[np.int32], list[str]]:
    """The values of all columns as positions into their distinct values, which are sorted."""
    names = sorted({name for column in columns for name in column.dictionary.to_pylist()}, key=str)
    place = {name: number for number, name in enumerate(names)}
    codes = [
        np.array([place[name] for name in column.dictionary.to_pylist()], np.int32)[
            column.indices.to_numpy(zero_copy_only=False)
        ]
        for column in columns
    ]
    return np.concatenate(codes), names


def _top(by: NDArray[Any], groups: NDArray[np.int32], share: float, lowest: bool) -> NDArray[np.int64]:
    """Positions of the best share of each group, ascending; at least one of each group that has a number."""
    values = np.where(np.isfinite(by), by, np.nan).astype(np.float64 if by.dtype.kind != "f" else by.dtype)
    ranked = np.argsort(values if lowest else -values, kind="stable")  # NaN comes last
    ranked = ranked[: np.count_nonzero(~np.isnan(values))]
    ranked = ranked[np.argsort(groups[ranked], kind="stable")]
    members = np.split(ranked, np.flatnonzero(np.diff(groups[ranked])) + 1)
    # the small term: 0.3 of 10 is 3, although 0.3 * 10 is a little more in floating point
    taken = [some[: math.ceil(share * len(some) - 1e-9)] for some in members]
    return np.sort(np.concatenate(taken))
