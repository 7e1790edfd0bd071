"""A table's images as a training set: WebDataset shards, Parquet files or an image folder, and a manifest.

Rows are sorted by shard and index, and numbered from 0, so the same version of a table gives the same bytes.
Memory holds a few rows. Failed rows have no image and are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import webdataset

from qrefine.corpus.formats import SIGNATURE_BYTES, image_format
from qrefine.errors import UserError
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store
from qrefine.table.images import SourceError, Sources, raise_lost, with_images
from qrefine.table.merge import Source, in_order, regrouped
from qrefine.table.parts import row_writer
from qrefine.table.table import Table
from qrefine.table.where import parse_where

SAMPLES = 1000  # in one shard, Parquet file or folder
MANIFEST = "manifest.json"
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WebP": "webp", "GIF": "gif", "TIFF": "tif", "JPEG 2000": "jp2"}
_NOT_TOLD = {"image", "metadata", "prompt", "quality_map_before", "quality_map_after", "shard_rows", "error"}


@dataclass(frozen=True)
class File:
    """A file of an export. A folder's digest is that of its ``metadata.jsonl``, which has the images' digests."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What was exported, from which version of which table. Written last: an export without it is incomplete."""

    table: str
    version: int
    where: str | None
    format: str
    samples: int
    bytes: int
    files: tuple[File, ...]


def export(
    table: Table,
    output: Store,
    format: str = "webdataset",
    where: str | None = None,
    *,
    samples: int = SAMPLES,
    sources: Sources | None = None,
    lost: Callable[[SourceError], None] = raise_lost,
    notify: Callable[[int], None] = lambda samples: None,
) -> Manifest:
    """Write the rows for which ``where`` holds (see `parse_where`); raises UserError.

    Images that the table does not hold come from their shards, by ``sources``. ``lost`` is told of each one that
    cannot be had; where it returns, the row is left out. ``notify`` is called with the number of samples so far
    after each file.
    """
    if format not in WRITERS:
        raise UserError(f"unknown format {format!r} (there are {', '.join(WRITERS)})")
    wanted = None if where is None else parse_where(where, table.schema.remove(table.schema.names.index("image")))
    out = _Output(output)
    rows = with_images(_rows(table, wanted), sources or Sources(), lost)
    files: list[File] = []
    count = 0
    try:
        while (first := next(rows, None)) is not None:
            chunk = chain([first], islice(rows, samples - 1))
            files.append(WRITERS[format](out, len(files), count, chunk))
            count += files[-1].samples
            notify(count)
        manifest = Manifest(
            table.root, table.version, where, format, count, sum(file.bytes for file in files), tuple(files)
        )
        out.put(MANIFEST, json.dumps(asdict(manifest), indent=2).encode())
    except OSError as error:
        raise storage_error(output.url, error) from error
    return manifest


def _rows(table: Table, where: pc.Expression | None) -> Iterator[pa.Table]:
    """The rows one by one, each a table of one row."""
    pieces = sorted(table.pieces(), key=lambda piece: (piece.shard, piece.first, piece.path))
    for shard, its in groupby(pieces, key=lambda piece: piece.shard):
        here = (pc.field("shard") == shard) & (pc.field("status") != "failed")
        wanted = here if where is None else here & where
        for run in in_order(table.store, [Source(piece.path, piece.first, wanted) for piece in its]):
            yield from (run.slice(row, 1) for row in range(run.num_rows))


class _Output:
    """The output folder, which must be empty; its files are hashed as they are written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        try:
            store.make_folder()
            if store.names():
                raise UserError(f"{store.url} is not empty: export into a folder of its own")
        except OSError as error:
            raise storage_error(store.url, error) from error

    @contextmanager
    def open(self, name: str) -> Iterator[_Hashed]:
        with self._store.open(name, "wb") as file:
            yield _Hashed(file)

    def folder(self, name: str) -> None:
        self._store.make_folder(name)

    def put(self, name: str, data: bytes) -> None:
        self._store.write(name, data)


class _Hashed:
    """Hashes what is written to a file; the caller closes the file."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self.size += len(memoryview(data))
        self._file.write(data)
        return len(memoryview(data))

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _write_tar(out: _Output, number: int, first: int, rows: Iterator[pa.Table]) -> File:
    name = f"{number:06d}.tar"
    with out.open(name) as file:
        count = 0
        with webdataset.TarWriter(file, encoder=False, mtime=0.0) as writer:
            for count, table in enumerate(rows, 1):
                row = table.to_pylist()[0]
                sample = {
                    "__key__": _key(first + count - 1),
                    _suffix(row["image"]["bytes"]): row["image"]["bytes"],
                    "json": json.dumps(_sidecar(row)).encode(),
                }
                if row["prompt"] is not None:
                    sample["txt"] = row["prompt"].encode()
                writer.write(sample)
    return File(name, count, file.size, file.sha256)


def _write_parquet(out: _Output, number: int, first: int, rows: Iterator[pa.Table]) -> File:
    name = f"{number:06d}.parquet"
    count = 0
    with out.open(name) as file:
        groups = regrouped(rows)
        one = next(groups)
        with row_writer(pa.PythonFile(file, mode="w"), one.schema) as writer:
            for group in chain([one], groups):
                writer.write_table(group)
                count += group.num_rows
    return File(name, count, file.size, file.sha256)


def _write_folder(out: _Output, number: int, first: int, rows: Iterator[pa.Table]) -> File:
    folder = f"{number:06d}"
    out.folder(folder)
    size = count = 0
    with out.open(f"{folder}/metadata.jsonl") as file:
        for count, table in enumerate(rows, 1):
            row = table.to_pylist()[0]
            image = row["image"]["bytes"]
            name = f"{_key(first + count - 1)}.{_suffix(image)}"
            out.put(f"{folder}/{name}", image)
            told = {"file_name": name, "text": row["prompt"], **_told(row), "metadata": row["metadata"]}
            told["sha256"] = hashlib.sha256(image).hexdigest()
            file.write(json.dumps(told).encode() + b"\n")
            size += len(image)
    return File(f"{folder}/metadata.jsonl", count, size + file.size, file.sha256)


WRITERS: dict[str, Callable[[_Output, int, int, Iterator[pa.Table]], File]] = {
    "webdataset": _write_tar,
    "parquet": _write_parquet,
    "imagefolder": _write_folder,
}


def _key(number: int) -> str:
    """A number, since keys of different shards may be equal."""
    return f"{number:09d}"


def _suffix(image: bytes) -> str:
    return SUFFIXES.get(image_format(image[:SIGNATURE_BYTES]) or "", "bmp")


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _NOT_TOLD}


def _sidecar(row: dict[str, Any]) -> dict[str, Any]:
    """The sample's own json, where it has one, with the table's columns under ``qrefine``."""
    try:
        own = json.loads(row["metadata"] or "{}")
    except (ValueError, RecursionError):
        own = {"metadata": row["metadata"]}
    own = own if isinstance(own, dict) else {"metadata": own}
    return {**own, "qrefine": _told(row)}
