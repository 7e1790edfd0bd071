"""What changed between two versions of a table. Reads only parts that are in one of them, and no images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from qrefine.storage.ahead import ahead
from qrefine.table.pieces import READERS
from qrefine.table.table import Table

COLUMNS = ("shard", "index", "status", "quality_after", "run", "source_sha256")


@dataclass(frozen=True)
class Difference:
    """Numbers of samples; ``replaced`` is the sum of the five below it."""

    added: int
    removed: int
    replaced: int
    new_source: int  # the source image is another
    improved: int  # the score is higher, or it no longer fails
    worse: int  # the score is lower, or it fails now
    same: int
    unknown: int  # replaced and failed, before and after
    gain: float | None  # mean change of quality_after over samples of the same source, scored in both


def diff(old: Table, new: Table) -> Difference:
    """Compare two versions of a table; memory grows with the rows of the parts that are in only one of them."""
    parts = [{piece.path for piece in table.pieces()} for table in (old, new)]
    both = parts[0] & parts[1]
    before, after = (_rows(table, sorted(paths - both)) for table, paths in zip((old, new), parts, strict=True))
    joined = before.join(
        after, ["shard", "index"], join_type="full outer", left_suffix="_old", right_suffix="_new"
    )
    was, now = pc.is_valid(joined["run_old"]), pc.is_valid(joined["run_new"])
    rows = joined.filter(pc.and_kleene(pc.and_(was, now), pc.not_equal(joined["run_old"], joined["run_new"])))
    source = pc.equal(rows["source_sha256_old"], rows["source_sha256_new"])
    same_source = pc.or_(
        pc.fill_null(source, False),
        pc.and_(pc.is_null(rows["source_sha256_old"]), pc.is_null(rows["source_sha256_new"])),
    )
    compared = rows.filter(same_source)
    failed_before, failed_after = (pc.equal(compared[f"status_{when}"], "failed") for when in ("old", "new"))
    change = pc.subtract(compared["quality_after_new"], compared["quality_after_old"])
    scored = pc.and_(pc.invert(failed_before), pc.invert(failed_after))
    improved = _count(pc.and_(scored, pc.greater(change, 0))) + _count(pc.and_not(failed_before, failed_after))
    worse = _count(pc.and_(scored, pc.less(change, 0))) + _count(pc.and_not(failed_after, failed_before))
    unknown = _count(pc.and_(failed_before, failed_after))
    return Difference(
        added=_count(pc.invert(was)),
        removed=_count(pc.invert(now)),
        replaced=rows.num_rows,
        new_source=rows.num_rows - compared.num_rows,
        improved=improved,
        worse=worse,
        same=compared.num_rows - improved - worse - unknown,
        unknown=unknown,
        gain=pc.mean(change).as_py(),
    )


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _rows(table: Table, paths: Iterable[str]) -> pa.Table:
    found = ahead(lambda path: table.read(path, COLUMNS), paths, READERS)
    return pa.concat_tables([table.schema.empty_table().select(list(COLUMNS)), *found])
