"""Decides which result of a row that was done again stays, and writes the parts that hold it.

A new result replaces the old one, except that

- a failure replaces only another failure with another cause: a retry never loses an image;
- a row that was done again for its low quality keeps the result with the higher ``quality_after``.

All other rows of a part that changes are copied unchanged into a new part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qrefine.nightly.changes import LIGHT, AgainRows
from qrefine.storage.store import Store
from qrefine.table.journal import Entry
from qrefine.table.ledger import Rows
from qrefine.table.merge import Source, merge_parts, part_reader

NO_ROWS = AgainRows(Rows())


@dataclass(frozen=True)
class MergeJob:
    """Parts of one shard that are merged into fewer ones.

    ``again``: the rows of the ``old`` parts with new results in the ``new``, staged parts. ``all_of_it``: rewrite
    old parts even where none of their rows changes, since they are small or hold rows of other shards.
    """

    shard: str
    version: str | None
    old: tuple[str, ...]
    new: tuple[str, ...] = ()
    again: AgainRows = NO_ROWS
    all_of_it: bool = False


def run_merge(store: Store, job: MergeJob, run: str, part_bytes: int) -> Entry:
    """Decide and write; the journal entry says which parts replace which."""
    read = part_reader(store)
    old, new = ({path: _light(read(path, LIGHT), job.shard) for path in paths} for paths in (job.old, job.new))
    kept, won, counts = decide(old, new, job.again)
    if not job.all_of_it:  # parts that keep all their rows stay as they are
        kept = {path: rows for path, rows in kept.items() if len(rows) < old[path].num_rows}
    partial = any(kept.values()) or any(0 < len(won[path]) < new[path].num_rows for path in won)
    # if no part is used only partly, staged parts whose rows all won can be committed as they are
    taken = {**kept, **won} if partial else {}
    untouched = set() if partial else {path for path in won if won[path]}
    sources = [Source.of(path, job.shard, rows) for path, rows in taken.items() if rows]
    records = merge_parts(store, sources, run, part_bytes) if sources else []
    replaced = tuple(path for path in (*kept, *won) if path not in untouched)
    return Entry(job.shard, job.version, tuple(records), replaced, counts)


def decide(
    old: dict[str, pa.Table], new: dict[str, pa.Table], again: AgainRows
) -> tuple[dict[str, Rows], dict[str, Rows], dict[str, int]]:
    """By part, the old rows that stay and the new rows that are taken; and counts of the outcomes."""
    results = {row["index"]: row for table in new.values() for row in table.to_pylist()}
    total = max((row["shard_rows"] for row in results.values() if row["shard_rows"] is not None), default=None)
    counts = {"replaced": 0, "not better": 0, "failed": 0}
    lost: set[int] = set()  # new results that are not taken
    gone: set[int] = set()  # old rows that do not stay
    for row in _rows(old.values(), again.rows):
        index, result = row["index"], results.get(row["index"])
        if result is None:
            if total is not None and index >= total:  # a row of damage that the second read did not meet
                gone.add(index)
        elif result["status"] == "failed" and (row["status"] != "failed" or row["error"] == result["error"]):
            lost.add(index)
            counts["failed"] += 1
        elif index in again.contested and not _better(result, row):
            lost.add(index)
            counts["not better"] += 1
        else:
            gone.add(index)
            counts["replaced"] += 1
    kept = {path: Rows(i for i in table["index"].to_pylist() if i not in gone) for path, table in old.items()}
    won = {path: Rows(i for i in table["index"].to_pylist() if i not in lost) for path, table in new.items()}
    return kept, won, counts


def _better(result: dict[str, Any], row: dict[str, Any]) -> bool:
    return (result["quality_after"] or 0.0) > (row["quality_after"] or 0.0)


def _rows(tables: Iterable[pa.Table], rows: Rows) -> Iterable[dict[str, Any]]:
    for table in tables:
        for row in table.to_pylist():
            if row["index"] in rows:
                yield row


def _light(rows: pa.Table, shard: str) -> pa.Table:
    return rows.filter(pc.equal(rows["shard"], shard))
