"""The output table: the rows of a part become visible by a commit to the Delta log, and in no other way.

Exactly once means commits, not work: a sample may be computed twice, but its row is committed once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Field
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import ArrayType, PrimitiveType
from deltalake.transaction import CommitProperties, RemoveAction, Transaction

from qrefine.errors import TableBusyError, UserError
from qrefine.storage.errors import lost_store, storage_error
from qrefine.storage.retry import retrying
from qrefine.storage.store import Store
from qrefine.table.journal import journal_parts
from qrefine.table.ledger import Ledger
from qrefine.table.merge import part_reader
from qrefine.table.parts import PREFIX, PartRecord
from qrefine.table.pieces import Piece, build_ledger, read_pieces
from qrefine.table.schema import ADDED, check_columns

log = logging.getLogger(__name__)

COMMIT_RETRIES = 20  # Delta's own, where other engines commit at the same time
COMMIT_PATIENCE = 2  # our retries of a failed store; deltalake's client has ten of its own for each request
DELTA_TYPES = {
    pa.string(): PrimitiveType("string"),
    pa.int64(): PrimitiveType("long"),
    pa.float32(): PrimitiveType("float"),
    pa.list_(pa.string()): ArrayType(PrimitiveType("string"), contains_null=True),
}
RETENTION = "7 days"  # of parts that are no longer in the newest version
PART_BYTES = 128 << 20  # of the parts that a merge writes
# application id of our commits. Delta sees no conflict between commits that add parts, but a commit with an
# application id fails if another with that id came since its writer last read the log: a second lock, behind the
# lease
WRITER = "qrefine"


class Table:
    """A Delta table of refined samples in a folder."""

    def __init__(self, delta: DeltaTable, store: Store) -> None:
        self.delta = delta
        self.store = store
        self.root = store.url

    @classmethod
    def open(cls, store: Store, version: int | None = None) -> Table:
        """An existing table, at its newest or the given version; raises UserError where that does not exist."""
        root = store.url
        store.info()  # fsspec reports more clearly why a store refuses
        try:
            options = store.delta_options
            delta = retrying(lambda: DeltaTable(root, storage_options=options), root)
            if version is not None:
                if not 0 <= version <= delta.version():
                    raise UserError(f"{root} has versions 0 to {delta.version()}, and no version {version}")
                retrying(lambda: delta.load_as_version(version), root)
        except TableNotFoundError as error:
            raise UserError(f"there is no table at {root}") from error
        except (DeltaError, OSError) as error:
            raise storage_error(root, error) from error
        return cls(delta, store)

    @staticmethod
    def exists(store: Store) -> bool:
        """Whether there is a table; raises UserError where the store refuses."""
        try:
            return DeltaTable.is_deltatable(store.url, store.delta_options)
        except (DeltaError, OSError) as error:
            raise storage_error(store.url, error) from error

    @classmethod
    def open_or_create(cls, store: Store, schema: pa.Schema) -> Table:
        """The table in the folder, created where missing; raises UserError where its columns differ."""
        root = store.url
        store.info()
        try:
            options = store.delta_options
            # mode: two runs that start at once get the same table
            delta = retrying(
                lambda: DeltaTable.create(
                    root,
                    schema,
                    mode="ignore",
                    name="qrefine",
                    configuration={"delta.deletedFileRetentionDuration": f"interval {RETENTION}"},
                    storage_options=options,
                ),
                root,
            )
        except (DeltaError, OSError) as error:
            raise storage_error(root, error) from error
        table = cls(delta, store)
        check_columns(root, table.schema, schema)
        return table

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(self.delta.schema())

    @property
    def version(self) -> int:
        return int(self.delta.version())

    def last_config(self) -> str | None:
        """Digest of the configuration that the last commit was made with; None where no run has committed."""
        entries = (entry.get("qrefine") for entry in retrying(lambda: self.delta.history(20), self.root))
        return next((entry["config"] for entry in entries if entry and "config" in entry), None)

    def pieces(self) -> list[Piece]:
        """What the log says of the rows; only other engines' parts are opened."""
        return list(read_pieces(self._actions(), self.read))

    def ledger(self) -> Ledger:
        """The committed rows, from the log alone; a part is opened only where its shard is incomplete and its
        rows have gaps, or where another engine wrote it (compaction puts rows of several shards together)."""
        return build_ledger(self.pieces(), self.read)

    def commit(self, records: Sequence[PartRecord], removed: Sequence[str] = (), **metadata: Any) -> None:
        """Add and remove parts in one commit; retried where another engine committed in between.

        Raises TableBusyError where another run of ours committed since this one last read the log (WRITER), and
        BrokenRunError where the store stays unreachable. A commit whose answer was lost is done if the log has it.
        """
        gone = set(removed)
        parts = self._actions().select(["path", "size_bytes"]).to_pylist() if gone else []
        removes = [_remove_action(part) for part in parts if part["path"] in gone]
        properties = self._properties(metadata)
        actions = [*(record.add_action() for record in records), *removes]
        added = {record.path for record in records}
        try:
            retrying(lambda: self._commit(actions, properties, added, gone), self.root, COMMIT_PATIENCE)
            retrying(self.delta.update_incremental, self.root, COMMIT_PATIENCE)
        except (DeltaError, OSError) as error:
            raise lost_store(self.root, error) from error

    def _properties(self, metadata: dict[str, Any]) -> CommitProperties:
        """Properties of all our commits: a commit fails if another of ours came since this table was last read."""
        return CommitProperties(
            custom_metadata={"qrefine": metadata},
            max_commit_retries=COMMIT_RETRIES,
            app_transactions=[Transaction(WRITER, self.version + 1)],
        )

    def _commit(
        self, actions: Sequence[Any], properties: CommitProperties, added: set[str], removed: set[str]
    ) -> None:
        """One attempt. After one whose answer was lost, WRITER makes this one fail, and the log has the parts."""
        try:
            self.delta.create_write_transaction(
                actions, "append", self.delta.schema(), commit_properties=properties
            )
        except CommitFailedError as error:
            self.delta.update_incremental()
            present = set(self._actions()["path"].to_pylist())
            if not added <= present or removed & present:
                raise self._overtaken(error) from error

    def _overtaken(self, error: CommitFailedError) -> TableBusyError:
        reason = " ".join(str(error).split())
        return TableBusyError(
            f"{self.root}: another commit came between ({reason}); the same command goes on from there"
        )

    def add_columns(self) -> list[str]:
        """Give a table that is older than some columns those, by one commit that touches no part; their names.

        Raises TableBusyError where another commit came since this table was last read.
        """
        missing = [name for name in ADDED if name not in self.schema.names]
        if not missing:
            return []
        fields = [Field(name, DELTA_TYPES[ADDED[name]], nullable=True) for name in missing]
        try:
            self.delta.alter.add_columns(fields, commit_properties=self._properties({"added": missing}))
        except CommitFailedError as error:
            raise self._overtaken(error) from error
        except (DeltaError, OSError) as error:
            raise storage_error(self.root, error) from error
        retrying(self.delta.update_incremental, self.root)
        return missing

    def restore(self, version: int, run: str) -> int:
        """Restore the table to a version by a new commit; returns the new version.

        Raises UserError, and TableBusyError where another commit came since this table was last read.
        """
        Table.open(self.store, version)
        try:
            properties = self._properties({"run": run, "restored": version})
            self.delta.restore(version, commit_properties=properties)
        except CommitFailedError as error:
            raise self._overtaken(error) from error
        except (DeltaError, OSError) as error:
            raise UserError(
                f"{self.root} cannot go back to version {version}: {' '.join(str(error).split())}"
                f" (parts of versions older than the retention of {RETENTION} are deleted)"
            ) from error
        self.delta.update_incremental()
        return self.version

    def vacuum(self) -> int:
        """Delete parts that no version within the retention holds; returns how many.

        The retention is the table's property ``delta.deletedFileRetentionDuration``: RETENTION where qrefine made
        the table. The log gets no entry: ``deltalake``'s own vacuum would make two versions.
        """
        expired = self.delta.vacuum(dry_run=True)
        there = self.part_names()
        found = [name for name in expired if name in there]
        for name in found:
            self.store.remove(name)
        return len(found)

    def part_names(self) -> set[str]:
        """Names of the Parquet files in the table's folder, committed or not."""
        return {name for name in self.store.names() if name.endswith(".parquet")}

    def remove_leftovers(self, run: str) -> int:
        """Delete parts that dead runs never committed; returns how many. Call it only while holding the lease.

        Parts of an older version of the table are not leftovers: the log names them. Nor are staged parts of a
        run that can still be continued: its journal names them.
        """
        # the lease's last holder may have committed since this was opened
        retrying(self.delta.update_incremental, self.root)
        known = set(self._actions()["path"].to_pylist())
        listed = retrying(lambda: self.delta.vacuum(0, enforce_retention_duration=False, dry_run=True), self.root)
        known |= set(listed)
        known |= journal_parts(self.store, self.version)
        leftovers = [
            name
            for name in self.part_names() - known
            if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}{run}-")
        ]
        for name in leftovers:
            self.store.remove(name)
        return len(leftovers)

    def read(self, path: str, columns: Sequence[str]) -> pa.Table:
        """Columns of a part."""
        return part_reader(self.store)(path, columns)

    def _actions(self) -> pa.Table:
        return pa.table(self.delta.get_add_actions(flatten=True))


def _remove_action(part: dict[str, Any]) -> RemoveAction:
    now = int(time.time() * 1000)
    return RemoveAction(part["path"], data_change=True, deletion_timestamp=now, size=part["size_bytes"])


def open_table(url: str, storage_options: dict[str, Any] | None = None) -> DeltaTable:
    """The table's ``deltalake.DeltaTable``, for pyarrow, Polars, DuckDB and the rest; raises UserError."""
    return Table.open(Store.at(url, storage_options)).delta
