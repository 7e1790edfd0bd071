"""The output table: parts become rows by one commit to the Delta log, and in no other way.

Exactly once is about the commit, not about the work: whatever is computed twice, a row is committed once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import CommitProperties, RemoveAction, Transaction

from qrefine.data.ledger import Ledger, Rows
from qrefine.data.options import delta_options
from qrefine.data.parts import PREFIX, PartRecord, write_part
from qrefine.data.retry import lost_store, storage_error
from qrefine.data.storage import canonical, look, open_filesystem
from qrefine.errors import TableBusyError, UserError

log = logging.getLogger(__name__)

COMMIT_RETRIES = 20
# who commits, in Delta's words. To add parts conflicts with nothing in its eyes, but a commit under a name fails
# where another one under that name came since its writer last read the log: the second lock, behind the lease
WRITER = "qrefine"


class Table:
    """A Delta table of refined samples at a URL."""

    def __init__(self, delta: DeltaTable, root: str, storage_options: dict[str, Any]) -> None:
        self.delta = delta
        self.root = root
        self._storage_options = storage_options

    @classmethod
    def open(cls, url: str, storage_options: dict[str, Any]) -> Table:
        """An existing table; raises UserError where there is none."""
        root = canonical(url)
        look(root, storage_options)  # a store that refuses says so more clearly to fsspec
        try:
            delta = DeltaTable(root, storage_options=delta_options(root, storage_options))
        except TableNotFoundError as error:
            raise UserError(f"there is no table at {root}") from error
        except (DeltaError, OSError) as error:
            raise storage_error(root, error) from error
        return cls(delta, root, storage_options)

    @classmethod
    def open_or_create(cls, url: str, schema: pa.Schema, storage_options: dict[str, Any]) -> Table:
        """The table at the URL, made where there is none; raises UserError where its columns are others."""
        root = canonical(url)
        look(root, storage_options)
        try:
            delta = DeltaTable.create(
                root,
                schema,
                mode="ignore",  # two runs that start at once both come away with the same table
                name="qrefine",
                storage_options=delta_options(root, storage_options),
            )
        except (DeltaError, OSError) as error:
            raise storage_error(root, error) from error
        table = cls(delta, root, storage_options)
        _check_columns(root, table.schema, schema)
        return table

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(self.delta.schema())

    @property
    def version(self) -> int:
        return int(self.delta.version())

    def last_config(self) -> str | None:
        """Digest of the configuration that the last commit was made with; None where no run has committed."""
        entries = (entry.get("qrefine") for entry in self.delta.history(20))
        return next((entry["config"] for entry in entries if entry and "config" in entry), None)

    def ledger(self) -> Ledger:
        """The committed rows, from the log alone; a part is opened only where its shard is incomplete and its
        rows have gaps, or where another engine wrote it (compaction puts rows of several shards together)."""
        ledger = Ledger()
        gaps: list[tuple[str, str]] = []
        counts: dict[str, int] = {}
        for part in self._parts():
            if not part["path"].startswith(PREFIX):
                for shard, rows in _by_shard(self._read_part(part["path"], ["shard", "index", "shard_rows"])):
                    state, total = ledger.state(shard), pc.max(rows["shard_rows"]).as_py()
                    state.total = total if total is not None else state.total
                    state.rows = state.rows | Rows(rows["index"].to_pylist())
                    counts[shard] = counts.get(shard, 0) + rows.num_rows
                continue
            shard, rows, total = part["min.shard"], part["num_records"], part["max.shard_rows"]
            state = ledger.state(shard)
            state.total = total if total is not None else state.total
            counts[shard] = counts.get(shard, 0) + rows
            if part["max.index"] - part["min.index"] + 1 == rows:
                state.rows = state.rows | Rows.from_ranges([(part["min.index"], part["max.index"] + 1)])
            else:
                gaps.append((shard, part["path"]))
        for shard, path in gaps:
            state = ledger.state(shard)
            if state.total is not None and counts[shard] >= state.total:
                state.rows = Rows.from_ranges([(0, state.total)])
            else:
                state.rows = state.rows | Rows(self._read_part(path, ["index"])["index"].to_pylist())
        return ledger

    def commit(self, records: Sequence[PartRecord], removed: Sequence[str] = (), **metadata: Any) -> None:
        """Make parts visible, and others invisible, in one step; again where another engine's came between.

        Raises TableBusyError where another run of ours committed since this one last looked (WRITER), and
        BrokenRunError where the store stays away. A commit whose answer was lost counts as done if the log has it.
        """
        gone = set(removed)
        removes = [self._remove_action(part) for part in self._parts() if part["path"] in gone] if gone else []
        properties = CommitProperties(
            custom_metadata={"qrefine": metadata},
            max_commit_retries=COMMIT_RETRIES,
            app_transactions=[Transaction(WRITER, self.version + 1)],
        )
        actions = [*(record.add_action() for record in records), *removes]
        try:
            self.delta.create_write_transaction(
                actions, "append", self.delta.schema(), commit_properties=properties
            )
            self.delta.update_incremental()
        except CommitFailedError as error:
            self.delta.update_incremental()
            present = set(pa.table(self.delta.get_add_actions())["path"].to_pylist())
            if not {record.path for record in records} <= present or gone & present:
                reason = " ".join(str(error).split())
                raise TableBusyError(
                    f"{self.root}: another commit came between ({reason}); the same command goes on from there"
                ) from error
        except (DeltaError, OSError) as error:
            raise lost_store(self.root, error) from error

    def drop_failed(self, run: str) -> int:
        """Take the failed rows out of the table, in one commit, so that they are planned anew; how many."""
        records, removed, count = [], [], 0
        for part in self._parts():
            if part["min.status"] != "failed":  # the first of the three by the alphabet
                continue
            rows = self._read_part(part["path"])
            good = rows.filter(pc.not_equal(rows["status"], "failed"))
            count += rows.num_rows - good.num_rows
            removed.append(part["path"])
            for _, rest in _by_shard(good):
                records.append(write_part(self.root, self._storage_options, [rest], run))
        if removed:
            self.commit(records, removed, run=run, retry_failed=count)
        return count

    def remove_leftovers(self, run: str) -> int:
        """Delete parts that dead runs wrote and never committed; how many. Call it only while holding the lease.

        Parts that an older version of the table still shows are not leftovers: the log names them.
        """
        filesystem, base = open_filesystem(self.root, self._storage_options)
        known = {part["path"] for part in self._parts()}
        known |= set(self.delta.vacuum(0, dry_run=True, enforce_retention_duration=False))
        filesystem.invalidate_cache(base)
        names = {path.rpartition("/")[2] for path in filesystem.ls(base, detail=False)}
        leftovers = [
            name
            for name in names - known
            if name.startswith(PREFIX) and name.endswith(".parquet") and not name.startswith(f"{PREFIX}{run}-")
        ]
        for name in leftovers:
            filesystem.rm_file(f"{base}/{name}")
        return len(leftovers)

    def _parts(self) -> list[dict[str, Any]]:
        columns = ["path", "size_bytes", "num_records", "min.shard", "min.index", "max.index"]
        actions = pa.table(self.delta.get_add_actions(flatten=True))
        for name in ("min.shard", "min.index", "max.index", "max.shard_rows", "min.status"):
            if name not in actions.column_names:  # absent while no part has the statistic
                actions = actions.append_column(name, pa.nulls(actions.num_rows))
        return actions.select([*columns, "max.shard_rows", "min.status"]).to_pylist()

    def _remove_action(self, part: dict[str, Any]) -> RemoveAction:
        return RemoveAction(
            part["path"], data_change=True, deletion_timestamp=int(time.time() * 1000), size=part["size_bytes"]
        )

    def _read_part(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        filesystem, base = open_filesystem(self.root, self._storage_options)
        with filesystem.open(f"{base}/{path}", "rb") as file:
            return pq.read_table(file, columns=None if columns is None else list(columns))


def _by_shard(rows: pa.Table) -> list[tuple[str, pa.Table]]:
    shards = pc.unique(rows["shard"]).to_pylist()
    return [(shard, rows.filter(pc.equal(rows["shard"], shard))) for shard in shards]


def _check_columns(root: str, found: pa.Schema, expected: pa.Schema) -> None:
    missing = [name for name in expected.names if name not in found.names]
    extra = [name for name in found.names if name not in expected.names]
    if missing or extra:
        raise UserError(
            f"{root} holds a table of other columns (missing: {', '.join(missing) or 'none'}; unknown:"
            f" {', '.join(extra) or 'none'}): choose another output, or the judges that it was made with"
        )
    for name in expected.names:
        if not _same_type(found.field(name).type, expected.field(name).type):
            raise UserError(
                f"{root} holds a table in which {name} is {found.field(name).type}, not"
                f" {expected.field(name).type}: choose another output"
            )


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Equal but for the names and nullability of list elements, which engines choose for themselves."""
    if pa.types.is_list(a) and pa.types.is_list(b):
        return _same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        return [f.name for f in a] == [f.name for f in b]
    return a.equals(b)


def open_table(url: str, storage_options: dict[str, Any] | None = None) -> DeltaTable:
    """The table's ``deltalake.DeltaTable``, for pyarrow, Polars, DuckDB and the rest; raises UserError."""
    return Table.open(url, storage_options or {}).delta
