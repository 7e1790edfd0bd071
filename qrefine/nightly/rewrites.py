"""Which parts a night rewrites, and which its commit removes. Pure functions of pieces and the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qrefine.nightly.changes import Changes
from qrefine.nightly.settle import NO_ROWS, MergeJob
from qrefine.table.journal import Journal
from qrefine.table.pieces import Piece
from qrefine.table.table import PART_BYTES

COMPACT_PARTS = 16  # a shard with this many small parts is compacted
SMALL_BYTES = PART_BYTES // 2
COMPACT_BYTES = 64 << 30  # most that one night compacts; a row is rewritten about once in its life


def settle_jobs(
    changes: Changes,
    pieces: Sequence[Piece],
    dropped: set[str],
    journal: Journal,
    versions: Mapping[str, str | None],
) -> list[MergeJob]:
    """A job for each shard with rows that were done again, and for each that shares a part with removed rows."""
    done = {entry.shard for entry in journal.entries if entry.sources}
    new: dict[str, list[str]] = {}
    for entry in journal.entries:
        if not entry.sources and entry.shard in changes.again:
            new.setdefault(entry.shard, []).extend(record.path for record in entry.records)
    old: dict[str, list[str]] = {shard: [] for shard in new}
    going = {piece.path for piece in pieces if piece.shard in dropped}
    for piece in pieces:
        if piece.shard in new and (piece.rows is None or piece.rows & changes.again[piece.shard].rows):
            old[piece.shard].append(piece.path)
            going.add(piece.path)
    shared: set[str] = set()
    for piece in pieces:  # parts of other engines hold rows of several shards: all of these are rewritten
        if not piece.own and piece.path in going and piece.shard not in dropped:
            shared.add(piece.shard)
            its = old.setdefault(piece.shard, [])
            its += [piece.path] if piece.path not in its else []
    return [
        MergeJob(
            shard,
            versions[shard],
            tuple(paths),
            tuple(new.get(shard, ())),
            changes.again.get(shard, NO_ROWS),
            shard in shared,
        )
        for shard, paths in old.items()
        if shard not in done
    ]


def removed_parts(pieces: Iterable[Piece], dropped: set[str], journal: Journal) -> set[str]:
    """Committed parts that the night's commit removes."""
    superseded = journal.superseded
    return {piece.path for piece in pieces if piece.shard in dropped or piece.path in superseded}


def compaction_jobs(
    pieces: Sequence[Piece], removed: set[str], journal: Journal, versions: Mapping[str, str | None]
) -> list[MergeJob]:
    """Jobs for shards that would have many small parts after the commit, most parts first, up to COMPACT_BYTES."""
    live = [(piece.shard, piece.path, piece.size, piece.own) for piece in pieces if piece.path not in removed]
    live += [(record.shard, record.path, record.size, True) for record in journal.records()]
    small: dict[str, list[tuple[str, int]]] = {}
    for shard, path, size, own in live:
        if own and size < SMALL_BYTES:
            small.setdefault(shard, []).append((path, size))
    jobs, left = [], COMPACT_BYTES
    for shard, parts in sorted(small.items(), key=lambda item: (-len(item[1]), item[0])):
        left -= sum(size for _, size in parts)
        if len(parts) < COMPACT_PARTS or left < 0:
            break
        jobs.append(MergeJob(shard, versions[shard], tuple(path for path, _ in parts), all_of_it=True))
    return jobs
