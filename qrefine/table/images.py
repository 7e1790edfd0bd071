"""The image of a row: from its part where the table stores it, else from its shard.

A row tells where its source image lies, in ``image_offset`` and ``image_size``: one range request fetches these
bytes and no others. Without an offset (compressed archives, Parquet files, folders, tables older than the columns)
the reader of the unit goes to the row: through an archive, to a row group, to a file.
``source_sha256`` then proves that the bytes are those that were scored; a shard that changed is never read wrong.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc

from qrefine.config import RefineConfig
from qrefine.corpus.formats import pillow_formats
from qrefine.corpus.listing import units_of
from qrefine.corpus.readers import read_unit
from qrefine.errors import UserError, one_line
from qrefine.sample import Sample
from qrefine.storage.ahead import ahead
from qrefine.storage.store import Store
from qrefine.table.pieces import READERS

PLACE = ("shard", "index", "status", "image_offset", "image_size", "source_sha256")
"""The columns of a row that `Sources` needs."""

GONE = "source shard cannot be read from here"
CHANGED = "source shard has changed since this row was written"
MISSING = "source image is no longer in its shard"
ENOUGH = "source not read: enough shards were"


class SourceError(UserError):
    """The image of a row cannot be had; ``reason`` is why, in words that do not name the row."""

    def __init__(self, row: Mapping[str, Any], reason: str) -> None:
        super().__init__(f"{row['shard']}, image {row['index']}: {reason}")
        self.shard, self.reason = str(row["shard"]), reason


class Sources:
    """Source images of rows, by their PLACE. Rows without offsets cost one pass over a shard if they are in order.

    ``most_bytes`` bounds what is read of such shards. May be called by several threads for rows with offsets.
    """

    def __init__(self, config: RefineConfig | None = None, most_bytes: float = float("inf")) -> None:
        self.config = config or RefineConfig()
        self._left = most_bytes
        self._shard, self._next, self._end = "", 0, MISSING  # of the shard that is being read forward
        self._samples: Iterator[Sample] = iter(())
        self._wanted, self._by_file = 0, False
        options = self.config.storage_options
        self._store = lru_cache(256)(lambda url: Store.at(url, options))
        self._unit = lru_cache(4)(lambda url: units_of([url], options, self.config.input.keys).get(url))

    def __call__(self, row: Mapping[str, Any]) -> bytes:
        """The bytes as they lay in the shard when the row was written; raises SourceError."""
        data = self._in_range(row) if has_offset(row) else self._forward(row)
        if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
            raise SourceError(row, CHANGED)
        return data

    def _in_range(self, row: Mapping[str, Any]) -> bytes:
        start, size = row["image_offset"], row["image_size"]
        try:
            return self._store(row["shard"]).read_range(start, start + size)
        except Exception as error:  # the stores have classes of their own
            raise SourceError(row, _why(error)) from error

    def _forward(self, row: Mapping[str, Any]) -> bytes:
        shard, index = row["shard"], row["index"]
        self._wanted = index  # readers ask as they come to it: what lies before can be skipped
        if shard != self._shard or index < self._next or self._by_file:
            self._open(row)
        while self._left > 0 and (sample := self._following(row)) is not None:
            self._next = sample.index + 1
            self._left -= len(sample.source or b"")
            if not sample.key:  # it reports a damaged shard
                self._end = GONE
            elif sample.index == index and sample.source is not None:
                return sample.source
        raise SourceError(row, self._end if self._left > 0 else ENOUGH)

    def _open(self, row: Mapping[str, Any]) -> None:
        """Begin to read the row's unit; of a folder only the files of its own sample."""
        shard = row["shard"]
        try:
            unit = self._unit(shard)
        except Exception as error:  # a folder is listed
            raise SourceError(row, _why(error)) from error
        if unit is None:
            raise SourceError(row, GONE)
        self._shard, self._next, self._end, self._by_file = shard, 0, MISSING, bool(unit.files)
        # the first sample too: it tells whether the unit can be read at all
        wanted = self._wanted.__eq__ if self._by_file else lambda index: index == 0 or index >= self._wanted
        self._samples = read_unit(unit, self.config, retries=1, wanted=wanted)

    def _following(self, row: Mapping[str, Any]) -> Sample | None:
        try:
            return next(self._samples, None)
        except Exception as error:  # the stores have classes of their own
            raise SourceError(row, _why(error)) from error


def has_offset(row: Mapping[str, Any]) -> bool:
    """Whether a range of the row's shard holds its image."""
    return row.get("image_offset") is not None and row.get("image_size") is not None


def image_bytes(
    row: Mapping[str, Any], storage_options: dict[str, Any] | None = None, *, sources: Sources | None = None
) -> bytes:
    """The encoded image of a row of a table, refined where it was; raises SourceError.

    ``row``: its columns ``image`` (if it was read) and PLACE. For many rows give one `Sources` for all.
    """
    stored = (row.get("image") or {}).get("bytes")
    if stored is not None:
        return bytes(stored)
    if row["status"] == "failed":
        raise SourceError(row, "the row failed and has no image")
    if row["status"] == "refined":
        raise SourceError(row, "the row was read without its image, which its shard does not hold")
    found = sources or Sources(RefineConfig(storage_options=storage_options or {}))
    return found(row)


def open_image(row: Mapping[str, Any], storage_options: dict[str, Any] | None = None) -> PIL.Image.Image:
    """`image_bytes` opened by Pillow, not decoded yet."""
    return opened(image_bytes(row, storage_options))


def opened(data: bytes) -> PIL.Image.Image:
    """Encoded bytes as a PIL image; only formats that qrefine reads."""
    return PIL.Image.open(io.BytesIO(data), formats=pillow_formats())


def raise_lost(error: SourceError) -> None:
    """For `with_images`: an image that cannot be had ends it."""
    raise error


def with_images(
    rows: Iterable[pa.Table], sources: Sources, lost: Callable[[SourceError], None]
) -> Iterator[pa.Table]:
    """Tables of one row each, in their order, with their images; several are fetched ahead.

    A row whose image cannot be had is left out, and ``lost`` is told why. A failed row has none and passes.
    """

    def fetched(table: pa.Table) -> tuple[pa.Table, dict[str, Any] | None, bytes | SourceError | None]:
        stored = pc.struct_field(table["image"], "bytes").null_count == 0
        row = None if stored else table.select(PLACE).to_pylist()[0]
        if row is None or row["status"] == "failed":
            return table, None, None
        try:
            return table, row, sources(row) if row["status"] == "kept" and has_offset(row) else None
        except SourceError as error:
            return table, row, error

    with closing(ahead(fetched, rows, READERS)) as ready:
        for table, row, data in ready:
            if row is None:
                yield table
                continue
            try:
                data = image_bytes(row, sources=sources) if data is None else data
            except SourceError as error:
                data = error
            if isinstance(data, SourceError):
                lost(data)
                continue
            kind = table.schema.field("image").type
            image = pa.array([{"bytes": data, "path": None}], kind)
            yield table.set_column(table.column_names.index("image"), "image", image)


def _why(error: BaseException) -> str:
    return GONE if isinstance(error, (FileNotFoundError, UserError)) else f"{GONE}: {one_line(error)}"
