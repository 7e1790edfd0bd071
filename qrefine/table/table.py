"""The output table: the rows of a part become visible by a commit to the Delta log, and in no other way.

Exactly once means commits, not work: a sample may be computed twice, but its row is committed once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Field
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.schema import ArrayType, PrimitiveType
from deltalake.transaction import CommitProperties, Transaction

from qrefine.errors import TableBusyError, UserError
from qrefine.storage.errors import lost_store, storage_error
from qrefine.storage.retry import retrying
from qrefine.storage.store import Store
from qrefine.table.checkpoint import due, retention_ms, write_checkpoint
from qrefine.table.journal import journal_parts
from qrefine.table.ledger import Ledger
from qrefine.table.log import Entry, Log, commit_lines, now_ms
from qrefine.table.merge import part_reader
from qrefine.table.parts import PREFIX, PartRecord
from qrefine.table.pieces import Piece, build_ledger, read_pieces, with_statistics
from qrefine.table.schema import ADDED, check_columns

log = logging.getLogger(__name__)

COMMIT_RETRIES = 20  # where other engines commit at the same time
DELTA_TYPES = {
    pa.string(): PrimitiveType("string"),
    pa.int64(): PrimitiveType("long"),
    pa.float32(): PrimitiveType("float"),
    pa.list_(pa.string()): ArrayType(PrimitiveType("string"), contains_null=True),
}
RETENTION = "7 days"  # of parts that are no longer in the newest version
PART_BYTES = 128 << 20  # of the parts that a merge writes
HISTORY = 20  # commits that are searched for the last configuration
# application id of our commits. Delta sees no conflict between commits that add parts, but ours are refused if
# another with that id came since its writer last read the log: a second lock, behind the lease
WRITER = "qrefine"


class Table:
    """A Delta table of refined samples in a folder, at one version."""

    def __init__(self, log: Log, store: Store) -> None:
        self.log = log
        self.store = store
        self.root = store.url

    @classmethod
    def open(cls, store: Store, version: int | None = None) -> Table:
        """An existing table, at its newest or the given version; raises UserError where that does not exist."""
        table = cls._open(store, version)
        if table is None:
            raise UserError(f"there is no table at {store.url}")
        return table

    @classmethod
    def _open(cls, store: Store, version: int | None = None) -> Table | None:
        try:
            store.info()  # reports more clearly why a store refuses
            log = Log.open(store, version)
        except UserError:
            raise
        except Exception as error:  # not all of the stores' classes are OSErrors
            raise storage_error(store.url, error) from error
        return None if log is None else cls(log, store)

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
        table = cls._open(store)
        if table is None:
            try:
                options = store.delta_options
                # mode: two runs that start at once get the same table
                retrying(
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
            table = cls.open(store)
        check_columns(root, table.schema, schema)
        return table

    @property
    def delta(self) -> DeltaTable:
        """The version as ``deltalake`` sees it, for reading rows; it holds all parts in memory."""
        try:
            options = self.store.delta_options
            return retrying(
                lambda: DeltaTable(self.root, version=self.version, storage_options=options), self.root
            )
        except (DeltaError, OSError) as error:
            raise storage_error(self.root, error) from error

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(DeltaSchema.from_json(self.log.metadata["schemaString"]))

    @property
    def version(self) -> int:
        return self.log.version

    def last_config(self) -> str | None:
        """Digest of the configuration that the last commit was made with; None where no run has committed."""
        for version in range(self.version, max(-1, self.version - HISTORY), -1):
            try:
                told = self.log.read(version).find("commitInfo")
            except FileNotFoundError:  # readers need no commit behind a checkpoint, and engines delete old ones
                return None
            for entry in told:
                if (entry.get("qrefine") or {}).get("config"):
                    return str(entry["qrefine"]["config"])
        return None

    def actions(self) -> pa.Table:
        """A row for each part: ``path``, ``size_bytes``, ``num_records``, and ``min.`` and ``max.`` of columns."""
        return pa.concat_tables([with_statistics(entry.adds) for entry in self._entries("path", "size", "stats")])

    def pieces(self) -> list[Piece]:
        """What the log says of the rows; only other engines' parts are opened."""
        adds = (entry.adds for entry in self._entries("path", "size", "stats"))
        return [piece for some in adds for piece in read_pieces(with_statistics(some), self.read)]

    def ledger(self) -> Ledger:
        """The committed rows, from the log alone; a part is opened only where its shard is incomplete and its
        rows have gaps, or where another engine wrote it (compaction puts rows of several shards together)."""
        return build_ledger(self.pieces(), self.read)

    def commit(self, records: Sequence[PartRecord], removed: Sequence[str] = (), **metadata: Any) -> None:
        """Add and remove parts in one commit; goes behind commits that another engine made in between.

        Raises TableBusyError where another run of ours committed since this one last read the log (WRITER), and
        BrokenRunError where the store stays unreachable. A commit whose answer was lost is done if the log has it.
        A checkpoint is written where one is due; the table is whole without it.
        """
        now = now_ms()
        adds = [record.add_action(now) for record in records]
        data = commit_lines(WRITER, self.version + 1, adds, removed, metadata, now)
        try:
            for version in range(self.version + 1, self.version + 2 + COMMIT_RETRIES):
                if self.log.create(version, data):
                    break
                self._check_between(self.log.read(version), set(removed))
            else:
                raise self._overtaken("other engines commit all the time")
            self.log.refresh()
        except UserError:
            raise
        except Exception as error:  # not all of the stores' classes are OSErrors
            raise lost_store(self.root, error) from error
        if due(self.log):
            try:
                write_checkpoint(self.log)
            except Exception:  # a later commit makes up for it
                log.warning("no checkpoint could be written for %s", self.root, exc_info=True)

    def _check_between(self, other: Entry, removed: set[str]) -> None:
        """Raise TableBusyError where a commit that came between forbids ours."""
        if any(txn["appId"] == WRITER for txn in other.find("txn")):
            raise self._overtaken("by another run")
        if other.find("metaData") or other.find("protocol"):
            raise self._overtaken("it altered the table")
        if removed.intersection(other.removes.field("path").to_pylist()):
            raise self._overtaken("it removed the same parts")

    def _overtaken(self, reason: str) -> TableBusyError:
        return TableBusyError(
            f"{self.root}: another commit came between ({reason}); the same command goes on from there"
        )

    def _properties(self, metadata: dict[str, Any]) -> CommitProperties:
        """Of our commits that ``deltalake`` makes: refused as `commit` is where another of ours came."""
        return CommitProperties(
            custom_metadata={"qrefine": metadata},
            max_commit_retries=COMMIT_RETRIES,
            app_transactions=[Transaction(WRITER, self.version + 1)],
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
            raise self._overtaken(" ".join(str(error).split())) from error
        except (DeltaError, OSError) as error:
            raise storage_error(self.root, error) from error
        self.log.refresh()
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
            raise self._overtaken(" ".join(str(error).split())) from error
        except (DeltaError, OSError) as error:
            raise UserError(
                f"{self.root} cannot go back to version {version}: {' '.join(str(error).split())}"
                f" (parts of versions older than the retention of {RETENTION} are deleted)"
            ) from error
        self.log.refresh()
        return self.version

    def vacuum(self) -> int:
        """Delete parts that no version within the retention holds; returns how many.

        The retention is the table's property ``delta.deletedFileRetentionDuration``: RETENTION where qrefine made
        the table. The log gets no entry: ``deltalake``'s own vacuum would make two versions.
        """
        self.log.refresh()
        expired = self._removed(now_ms() - retention_ms(self.log))
        found = expired & self.part_names() if expired else set()
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
        self.log.refresh()  # the lease's last holder may have committed since this was opened
        leftovers = {
            name
            for name in self.part_names() - journal_parts(self.store, self.version)
            if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}{run}-")
        }
        for entry in self._entries("path"):
            leftovers.difference_update(entry.touched.to_pylist())
        for name in leftovers:
            self.store.remove(name)
        return len(leftovers)

    def read(self, path: str, columns: Sequence[str]) -> pa.Table:
        """Columns of a part."""
        return part_reader(self.store)(path, columns)

    def _entries(self, *columns: str) -> Iterator[Entry]:
        try:
            yield from self.log.entries(columns)
        except OSError as error:
            raise storage_error(self.root, error) from error

    def _removed(self, before: int) -> set[str]:
        """Parts that were removed before a time (Unix milliseconds), and are not in this version."""
        found = set[str]()
        for entry in self._entries("path"):
            for part in entry.removes.to_pylist():
                if (part["deletionTimestamp"] or 0) < before:
                    found.add(part["path"])
        return found


def open_table(url: str, storage_options: dict[str, Any] | None = None) -> DeltaTable:
    """The table's ``deltalake.DeltaTable``, for pyarrow, Polars, DuckDB and the rest; raises UserError."""
    return Table.open(Store.at(url, storage_options)).delta
