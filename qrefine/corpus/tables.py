"""A Delta table as input, such as one of ours: its parts, at the version that it has or at a pinned one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from qrefine.corpus.units import Shard, part_url
from qrefine.errors import UserError
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store

LOG = "_delta_log"
READER_FEATURES = {"deletionVectors", "columnMapping"}  # with them a part's rows are not the table's


def is_table(store: Store) -> bool:
    return store.exists(LOG)


def list_table(store: Store, version: int | None = None) -> Iterator[Shard]:
    """The parts of a table; None: its latest version. Raises UserError."""
    try:
        table = DeltaTable(store.url, version=version, storage_options=store.delta_options)
        unread = READER_FEATURES & set(table.protocol().reader_features or ())
        parts = table.get_add_actions(flatten=True).select(["path", "size_bytes"]) if not unread else None
    except (DeltaError, OSError, ValueError) as error:
        raise storage_error(store.url, error) from error
    if parts is None:
        raise UserError(f"{store.url}: tables with {', '.join(sorted(unread))} are not read: rewrite it without")
    for path, size in zip(parts["path"].to_pylist(), parts["size_bytes"].to_pylist(), strict=True):
        yield Shard(part_url(store.url, unquote(path)), size, str(size))  # a part never changes
