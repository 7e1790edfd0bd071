"""The Delta log: which parts a version has, and commits, at a cost that does not grow with the table's parts.

``deltalake`` holds every part in memory and goes through all of them at each commit. Here the log is read when
it is asked for, in batches of Arrow, and a commit is one small object ``_delta_log/<version>.json`` that is
created only where none is. The format is Delta's protocol (github.com/delta-io/delta, PROTOCOL.md), reader
version 1 and writer version 2; tables that need more are refused.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from qrefine import __version__
from qrefine.errors import UserError
from qrefine.storage.ahead import ahead
from qrefine.storage.store import Store

FOLDER = "_delta_log"
COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")
READERS = 16  # commits that are read at a time
BATCH = 1 << 16  # rows of a checkpoint in memory at a time
# what a table may ask for without a change in how parts are added and removed
READER_FEATURES = {"timestampNtz"}
WRITER_FEATURES = {"appendOnly", "invariants", "timestampNtz", "changeDataFeed"}
ADD = pa.struct(
    [("path", pa.string()), ("size", pa.int64()), ("modificationTime", pa.int64()), ("stats", pa.string())]
)
COLUMNS = tuple(field.name for field in ADD)
REMOVE = pa.struct([("path", pa.string()), ("deletionTimestamp", pa.int64()), ("size", pa.int64())])


def commit_name(version: int) -> str:
    return f"{version:020d}.json"


@dataclass(frozen=True)
class Entry:
    """The actions of one commit, or of a batch of a checkpoint."""

    adds: pa.Array  # of ADD, without nulls
    removes: pa.Array  # of REMOVE
    others: tuple[dict[str, Any], ...] = ()  # txn, metaData, protocol, commitInfo

    @classmethod
    def parse(cls, data: bytes) -> Entry:
        """A commit's lines; fields that we do not use are left out."""
        lines = [line for line in data.split(b"\n") if line.strip()]
        table = pj.read_json(
            pa.BufferReader(b"\n".join(lines)),
            read_options=pj.ReadOptions(block_size=max(1 << 20, *map(len, lines)) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema([("add", ADD), ("remove", REMOVE)]), unexpected_field_behavior="ignore"
            ),
        ).combine_chunks()
        parts = pc.or_(pc.is_valid(table["add"]), pc.is_valid(table["remove"]))
        others = (json.loads(line) for line, part in zip(lines, parts.to_pylist(), strict=True) if not part)
        return cls(_valid(table["add"]), _valid(table["remove"]), tuple(others))

    @property
    def touched(self) -> pa.Array:
        """Paths of all parts that are added or removed."""
        return pa.concat_arrays([self.adds.field("path"), self.removes.field("path")])

    def find(self, action: str) -> list[dict[str, Any]]:
        return [other[action] for other in self.others if other.get(action)]


class Log:
    """The log of the table in ``store``'s folder, as of one version.

    ``metadata`` and ``protocol`` are Delta's actions of that name; ``transactions`` the last version of each
    application that commits with one.
    """

    def __init__(self, store: Store, version: int, checkpoint: int | None, names: Sequence[str]) -> None:
        self._store = store.join(FOLDER)
        self.version, self.checkpoint = version, checkpoint
        self.metadata: dict[str, Any] = {}
        self.protocol: dict[str, Any] = {}
        self.transactions: dict[str, int] = {}
        self._names = list(names)  # of the checkpoint's files
        self._tail: list[Entry] = []  # the commits behind it
        first = 0 if checkpoint is None else checkpoint + 1
        for name in names:
            self._learn(_checkpoint_header(self._store.read(name)))
        for entry in ahead(self.read, range(first, version + 1), READERS):
            self._append(entry)
        if not self.metadata or not self.protocol:
            raise UserError(f"the log of {store.url} has no schema: it is no Delta table, or damaged")
        _check_protocol(store.url, self.protocol, self.metadata)

    @classmethod
    def open(cls, store: Store, version: int | None = None) -> Log | None:
        """The log at its newest or the given version; None where there is none.

        Raises UserError where the version does not exist any more, or the table needs what we do not know.
        """
        commits, checkpoints = set[int](), dict[int, list[str]]()
        for name in store.names(FOLDER):
            if found := COMMIT.fullmatch(name):
                commits.add(int(found[1]))
            elif found := CHECKPOINT.fullmatch(name):
                checkpoints.setdefault(int(found[1]), []).append(name)
        if not commits and not checkpoints:
            return None
        newest = max([*commits, *checkpoints])
        target = newest if version is None else version
        if not 0 <= target <= newest:
            raise UserError(f"{store.url} has versions 0 to {newest}, and no version {target}")
        for checkpoint in (*sorted((v for v in checkpoints if v <= target), reverse=True), None):
            first = 0 if checkpoint is None else checkpoint + 1
            names = [] if checkpoint is None else _whole(checkpoints[checkpoint])
            if (names or checkpoint is None) and commits.issuperset(range(first, target + 1)):
                return cls(store, target, checkpoint, names)
        raise UserError(f"the log of {store.url} no longer has what version {target} is made of")

    @property
    def configuration(self) -> dict[str, str]:
        """The table's properties."""
        return dict(self.metadata.get("configuration") or {})

    def read(self, version: int) -> Entry:
        """The actions of one commit; raises FileNotFoundError where it is not there."""
        return Entry.parse(self._store.read(commit_name(version)))

    def refresh(self) -> None:
        """Go on to the newest version."""
        while True:
            try:
                entry = self.read(self.version + 1)
            except FileNotFoundError:
                return
            self.version += 1
            self._append(entry)

    def create(self, version: int, data: bytes) -> bool:
        """Make a commit of these lines; False where another has this version.

        An attempt that succeeded and whose answer was lost counts as made.
        """
        try:
            self._store.create(commit_name(version), data)
        except FileExistsError:
            if self._store.read(commit_name(version)) != data:
                return False
        return True

    @property
    def touched(self) -> pa.Array:
        """Paths of all parts that were added or removed since the checkpoint."""
        return pa.concat_arrays([pa.array([], pa.string()), *(entry.touched for entry in self._tail)])

    def pieces(self) -> Iterator[tuple[str, bytes]]:
        """The checkpoint's pieces by their names; nothing where it is in one file."""
        yield from ((name, self._store.read(name)) for name in self._names if len(self._names) > 1)

    def entries(self, columns: Sequence[str] = COLUMNS, without: Container[str] = ()) -> Iterator[Entry]:
        """What makes up this version, newest first: live parts, and removals that are on record.

        ``columns``: of the parts that are read from the checkpoint; the others are null. ``without``: pieces of
        the checkpoint that are not read.
        """
        seen = pa.array([], pa.string())
        for entry in reversed(self._tail):
            yield _unseen(entry, seen)
            seen = pa.concat_arrays([seen, entry.touched])
        wanted = [*(f"add.{name}" for name in columns), *(f"remove.{field.name}" for field in REMOVE)]
        for name in (one for one in self._names if one not in without):
            file = pq.ParquetFile(pa.BufferReader(self._store.read(name)))
            for batch in file.iter_batches(BATCH, columns=wanted):
                yield _unseen(Entry(_cast(batch, "add", ADD), _cast(batch, "remove", REMOVE)), seen)

    def checkpointed(self, files: Sequence[bytes]) -> None:
        """Put a checkpoint of this version beside the log, in one file or in pieces; readers then need no older
        commit. It counts when all its pieces are there. Raises FileExistsError where another writes them."""
        size = sum(pq.read_metadata(pa.BufferReader(data)).num_rows for data in files)
        about = {"version": self.version, "size": size, "sizeInBytes": sum(map(len, files))}
        stem, count = f"{self.version:020d}.checkpoint", len(files)
        names = [f"{stem}.{number:010d}.{count:010d}.parquet" for number in range(1, count + 1)]
        names, more = ([f"{stem}.parquet"], {}) if count == 1 else (names, {"parts": count})
        # two writers' pieces must not mix: one of them ends at the first
        (self._store.create if count > 1 else self._store.write)(names[0], files[0])
        for name, data in zip(names[1:], files[1:], strict=True):
            self._store.write(name, data)
        self._store.write("_last_checkpoint", json.dumps(about | more).encode())
        self.checkpoint, self._names, self._tail = self.version, names, []

    def _append(self, entry: Entry) -> None:
        self._tail.append(entry)
        self._learn(entry.others)

    def _learn(self, others: Iterable[dict[str, Any]]) -> None:
        for other in others:
            self.metadata = other.get("metaData") or self.metadata
            self.protocol = other.get("protocol") or self.protocol
            if txn := other.get("txn"):
                self.transactions[txn["appId"]] = txn["version"]


def commit_lines(
    writer: str,
    version: int,
    adds: Iterable[dict[str, Any]],
    removed: Iterable[str],
    metadata: dict[str, Any],
    now: int,
) -> bytes:
    """A commit that adds and removes parts, by the application ``writer``; ``metadata`` stands under its name."""
    about = {
        "timestamp": now,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append", "partitionBy": "[]"},
        "engineInfo": f"qrefine:{__version__}",
        writer: metadata,
    }
    actions = [
        {"commitInfo": about},
        {"txn": {"appId": writer, "version": version, "lastUpdated": now}},
        *({"add": add} for add in adds),
        *({"remove": {"path": path, "deletionTimestamp": now, "dataChange": True}} for path in removed),
    ]
    return b"".join(json.dumps(action, separators=(",", ":")).encode() + b"\n" for action in actions)


def now_ms() -> int:
    return int(time.time() * 1000)


def _valid(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.drop_null()


def _unseen(entry: Entry, seen: pa.Array) -> Entry:
    if not len(seen):
        return entry

    def unseen(array: pa.Array) -> pa.Array:
        return array.filter(pc.invert(pc.is_in(array.field("path"), value_set=seen)))

    return Entry(unseen(entry.adds), unseen(entry.removes), entry.others)


def _cast(batch: pa.RecordBatch, name: str, kind: pa.StructType) -> pa.Array:
    """A checkpoint's column as ``kind``: writers differ in the fields that they store."""
    if name not in batch.schema.names:
        return pa.array([], kind)
    column = batch.column(name).drop_null()
    there = {field.name for field in column.type}
    fields = [
        column.field(one.name).cast(one.type) if one.name in there else pa.nulls(len(column), one.type)
        for one in kind
    ]
    return pa.StructArray.from_arrays(fields, fields=list(kind))


def _checkpoint_header(data: bytes) -> list[dict[str, Any]]:
    """The few actions of a checkpoint that are not about parts."""
    file = pq.ParquetFile(pa.BufferReader(data))
    there = [name for name in ("txn", "metaData", "protocol") if name in file.schema_arrow.names]
    found = []
    for batch in file.iter_batches(BATCH, columns=there):
        for name in there:
            found += [
                {name: action} for action in batch.column(name).drop_null().to_pylist(maps_as_pydicts="lossy")
            ]
    return found


def _whole(names: Sequence[str]) -> list[str]:
    """The files of one checkpoint: a single one, or all of its pieces; none where pieces are missing."""
    single = [name for name in names if name.count(".") == 2]
    if single:
        return single
    counts: dict[int, list[str]] = {}  # a writer that was killed may have left pieces of another count
    for name in sorted(names):
        counts.setdefault(int(name.split(".")[-2]), []).append(name)
    return next((pieces for count, pieces in counts.items() if len(pieces) == count), [])


def _check_protocol(url: str, protocol: dict[str, Any], metadata: dict[str, Any]) -> None:
    reader, writer = protocol.get("minReaderVersion", 1), protocol.get("minWriterVersion", 2)
    unknown = (set(protocol.get("readerFeatures") or ()) - READER_FEATURES) | (
        set(protocol.get("writerFeatures") or ()) - WRITER_FEATURES
    )
    if unknown or reader not in (1, 3) or writer not in (1, 2, 7) or metadata.get("partitionColumns"):
        needs = ", ".join(sorted(unknown)) or f"reader version {reader} and writer version {writer}, or partitions"
        raise UserError(f"{url} is a Delta table with features that qrefine does not write: {needs}")
