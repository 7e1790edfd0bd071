"""What a night has to do: compares the input's listing with what the table's commits recorded. Writes nothing.

A shard is new, changed (its version differs), incomplete, or unchanged. Rows of shards that did not change may be
done again: failed rows, rows of low quality, and rows of another configuration.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.utils import glob_translate

from qrefine.corpus.listing import PINNED, SHARD_NAME, expand_braces
from qrefine.corpus.units import Shard, inner, recut
from qrefine.storage.ahead import ahead
from qrefine.storage.store import canonical
from qrefine.table.ledger import Ledger, Rows
from qrefine.table.pieces import READERS, Piece, ReadColumns, has_changed, recorded_versions

LIGHT = ("shard", "index", "key", "status", "error", "quality_after", "config", "shard_rows")


@dataclass(frozen=True)
class Again:
    """Which rows of shards that did not change are done again."""

    failed: bool = False
    below: float | None = None  # rows with a quality_after below this
    stale: bool = False  # rows of another configuration

    def may_hold(self, piece: Piece, config: str) -> bool:
        """Whether a piece may have such rows, by the log alone."""
        return (
            (self.failed and piece.failed)
            or (self.below is not None and piece.worst is not None and piece.worst < self.below)
            or (self.stale and piece.configs != (config,))
        )


@dataclass(frozen=True)
class AgainRows:
    """Rows of one shard that are done again."""

    rows: Rows
    contested: Rows = field(default_factory=Rows)  # of them, those whose new result must raise quality_after
    redrawn: Rows = field(default_factory=Rows)  # of them, those that need another seed: the settings are the same


@dataclass(frozen=True)
class Changes:
    """The difference, shard by shard; every listed shard is in at most one of the first three."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    incomplete: tuple[str, ...]
    vanished: tuple[str, ...]  # in the table and under the input's patterns, but no longer in the listing
    recut: tuple[
        str, ...
    ]  # no longer in the listing, and their samples are in new units of the same folder or table
    elsewhere: int  # shards of the table that the input's patterns do not cover
    again: dict[str, AgainRows] = field(default_factory=dict)  # by shard; of listed shards that did not change
    counts: Counter[str] = field(default_factory=Counter)  # of these rows by reason: "failed", "stale", "below"

    @property
    def to_do(self) -> set[str]:
        """The shards that are read."""
        return {*self.new, *self.changed, *self.incomplete, *self.again}


def plan_digest(config: str, again: Again, prune: bool) -> str:
    """Digest of what a night does: a killed night is continued by one with the same digest."""
    text = json.dumps([config, asdict(again), prune])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def compare(patterns: Sequence[str], shards: Sequence[Shard], pieces: Sequence[Piece], ledger: Ledger) -> Changes:
    """Finds new, changed, incomplete and vanished shards; `select_rows` adds the rows."""
    versions = recorded_versions(pieces)
    new, changed, incomplete = [], [], []
    for shard in shards:
        recorded = versions.get(shard.url)
        if recorded is None:
            new.append(shard.url)
        elif has_changed(shard.version, recorded):
            changed.append(shard.url)
        elif not ledger.complete(shard.url):
            incomplete.append(shard.url)
    listed = {shard.url for shard in shards}
    covers = coverage(patterns)
    replaced, _ = recut(listed, versions.keys())
    absent = sorted(versions.keys() - listed - replaced)
    vanished = tuple(url for url in absent if covers.fullmatch(place.container if (place := inner(url)) else url))
    elsewhere = len(absent) - len(vanished)
    return Changes(tuple(new), tuple(changed), tuple(incomplete), vanished, tuple(sorted(replaced)), elsewhere)


def coverage(patterns: Iterable[str]) -> re.Pattern[str]:
    """Matches every URL that `list_shards` could list for the patterns, or its container's.

    One that is not listed has vanished.
    """
    alternatives = []
    for pattern in patterns:
        for url in map(canonical, expand_braces(pattern)):
            if pinned := PINNED.fullmatch(url):
                alternatives.append(re.escape(pinned["table"]))
            alternatives.append(re.escape(url))
            if glob.has_magic(url):
                alternatives.append(glob_translate(url))
            folder = re.escape(url.rstrip("/"))
            alternatives.append(f"{folder}/(?s:.*/)?{SHARD_NAME}")
    return re.compile("|".join(f"(?:{one})" for one in alternatives))


def select_rows(
    changes: Changes,
    shards: Iterable[Shard],
    pieces: Iterable[Piece],
    again: Again,
    config: str,
    read: ReadColumns,
) -> Changes:
    """The changes with the rows to do again. Opens only parts that may hold such rows."""
    as_they_were = {shard.url for shard in shards}.difference(changes.new, changes.changed)
    candidates: dict[str, set[str]] = {}
    for piece in pieces:
        if piece.shard in as_they_were and again.may_hold(piece, config):
            candidates.setdefault(piece.path, set()).add(piece.shard)
    found: dict[str, list[AgainRows]] = {}
    counts: Counter[str] = Counter()
    for path, rows in zip(candidates, ahead(lambda path: read(path, LIGHT), candidates, READERS), strict=True):
        for shard in candidates[path]:
            its = rows.filter(pc.equal(rows["shard"], shard))
            selected = _select(its, again, config, counts)
            if selected.rows:
                found.setdefault(shard, []).append(selected)
    return replace(changes, again={shard: _joined(parts) for shard, parts in found.items()}, counts=counts)


def _select(rows: pa.Table, again: Again, config: str, counts: Counter[str]) -> AgainRows:
    index = rows["index"].combine_chunks()
    nothing = pc.equal(index, -1)
    failed = pc.equal(rows["status"], "failed")
    others = pc.not_equal(rows["config"], config)
    poor = nothing if again.below is None else pc.fill_null(pc.less(rows["quality_after"], again.below), False)
    stale = others if again.stale else nothing
    broken = pc.and_not(failed, stale) if again.failed else nothing
    contested = pc.and_not(poor, stale)

    def those(mask: pa.Array) -> Rows:
        return Rows(index.filter(mask).to_pylist())

    counts["failed"] += pc.sum(broken).as_py() or 0
    counts["stale"] += pc.sum(stale).as_py() or 0
    counts["below"] += pc.sum(contested).as_py() or 0
    # a second read may not meet the damage; then the sample before it is the shard's last, and is needed again
    damage = pc.and_(pc.equal(rows["key"], ""), pc.or_(broken, stale))
    before = Rows(i - 1 for i in index.filter(damage).to_pylist() if i)
    return AgainRows(
        those(pc.or_(pc.or_(broken, stale), contested)) | before,
        those(contested),
        those(pc.and_not(contested, others)),
    )


def _joined(parts: Sequence[AgainRows]) -> AgainRows:
    def union(sets: Iterable[Rows]) -> Rows:
        return Rows.from_ranges(pair for rows in sets for pair in rows.ranges)

    return AgainRows(
        union(part.rows for part in parts),
        union(part.contested for part in parts),
        union(part.redrawn for part in parts),
    )
