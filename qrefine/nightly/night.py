"""What a night would do to a table, by the listing and the log; parts are opened where rows are done again.

Writes nothing, and does not start Ray.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.units import Shard
from qrefine.nightly.changes import Again, Changes, compare, select_rows
from qrefine.storage.store import Store
from qrefine.table.ledger import Ledger, ShardState
from qrefine.table.pieces import Piece, build_ledger, uncollected
from qrefine.table.table import Table


@dataclass(frozen=True)
class NightPlan:
    """What a night does. Rows that are done again count once, by their first reason."""

    shards: int  # in the listing
    new: int
    changed: int
    incomplete: int
    vanished: tuple[str, ...]  # under the input's patterns, but no longer in the listing
    pruned_rows: int
    recut: int  # units of folders and tables whose samples are in new units: their rows go
    elsewhere: int  # shards of the table that the input's patterns do not cover
    failed: int  # rows done again
    stale: int
    below: int
    shards_read: int
    bytes: int  # of the shards that are read

    @classmethod
    def of(cls, shards: Sequence[Shard], pieces: Sequence[Piece], changes: Changes, prune: bool) -> NightPlan:
        read = changes.to_do
        return cls(
            shards=len(shards),
            new=len(changes.new),
            changed=len(changes.changed),
            incomplete=len(changes.incomplete),
            vanished=changes.vanished,
            pruned_rows=sum(piece.count for piece in pieces if prune and piece.shard in changes.vanished),
            recut=len(changes.recut),
            elsewhere=changes.elsewhere,
            failed=changes.counts["failed"],
            stale=changes.counts["stale"],
            below=changes.counts["below"],
            shards_read=len(read),
            bytes=sum(shard.size or 0 for shard in shards if shard.url in read),
        )


@dataclass(frozen=True)
class View:
    """The table and the listing, as a night begins."""

    pieces: list[Piece]
    ledger: Ledger
    changes: Changes

    @classmethod
    def of(
        cls, inputs: Sequence[str], shards: Sequence[Shard], table: Table, config: RefineConfig, again: Again
    ) -> View:
        with uncollected():
            pieces = table.pieces()
            ledger = build_ledger(pieces, table.read)
            changes = compare(inputs, shards, pieces, ledger)
        return cls(pieces, ledger, select_rows(changes, shards, pieces, again, config.digest, table.read))

    def only_again(self) -> View:
        """Only the rows that are done again."""
        return replace(
            self, changes=replace(self.changes, new=(), changed=(), incomplete=(), vanished=(), recut=())
        )

    def reopen(self) -> None:
        """Remove changed shards and the rows to do again from the ledger."""
        for url in self.changes.changed:
            self.ledger.shards[url] = ShardState()
        for url, again in self.changes.again.items():
            self.ledger.forget(url, again.rows)

    def dropped(self, prune: bool) -> set[str]:
        """Shards whose committed rows are removed, whatever the results of the night."""
        return {*self.changes.changed, *self.changes.recut, *(self.changes.vanished if prune else ())}

    def versions(self, shards: Iterable[Shard]) -> dict[str, str | None]:
        """Each shard's version in the listing; of shards that are not listed, in the table."""
        return {piece.shard: piece.version for piece in self.pieces} | {s.url: s.version for s in shards}


def plan_nightly(
    inputs: Sequence[str], output: str, config: RefineConfig, again: Again, *, prune: bool = False
) -> NightPlan:
    """The plan of `qrefine.api.nightly`; raises UserError. Needs no lease."""
    shards = list_shards(inputs, config.storage_options, config.input.keys)
    store = Store.at(output, config.storage_options)
    if not Table.exists(store):
        return NightPlan.of(shards, [], compare(inputs, shards, [], Ledger()), prune)
    view = View.of(inputs, shards, Table.open(store), config, again)
    return NightPlan.of(shards, view.pieces, view.changes, prune)
