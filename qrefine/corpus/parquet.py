"""Parquet files to samples: a row is a sample, and its number in the file is its index.

Rows are read a few at a time and column chunks a piece at a time, so memory depends on the size of a page, as the
file's writer chose it, and not on that of the file or of a row group. Row groups of which no row is wanted are not
read. The file tells how many rows it has, so rows of a damaged group fail one by one and keep their indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.config import RefineConfig
from qrefine.corpus.columns import as_metadata, choose_columns, named_by, values_of
from qrefine.corpus.grouping import printable
from qrefine.corpus.prompts import Prompt, find_prompt
from qrefine.errors import one_line
from qrefine.sample import Sample
from qrefine.storage.ranges import RangeReader
from qrefine.storage.store import Store

MAGIC = b"PAR1"
ENCRYPTED = b"PARE"
SIGNATURE_BYTES = 28  # behind a plain footer of encrypted columns: asking for those aborts the process
BATCH_BYTES = 8 << 20  # of decoded rows at a time, by their mean
MOST_ROWS = 64  # however small the mean: a dictionary may hold a large image once for many rows
BUFFER_BYTES = 32 << 20  # of all column chunks together, each at least LEAST_BUFFER
LEAST_BUFFER = 64 << 10
MOST_BUFFER = 4 << 20


def read_parquet(
    store: Store,
    url: str,
    config: RefineConfig,
    *,
    retries: int = 5,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Sample]:
    """The wanted samples of the file at ``store``, in order, as those of ``url``; the last carries ``shard_rows``.

    A file that cannot be read gives one failed sample. Where the store fails in mid-file a failed sample without a
    key ends it, as in a damaged tar.
    """
    with RangeReader(store.filesystem, store.base, retries) as source:
        count = 0
        try:
            rows = _File(source, url, config)
            for sample in rows.samples(wanted):
                count = sample.index + 1
                yield sample
        except FileNotFoundError:
            yield from _broken(url, 0, "shard does not exist", wanted)
        except Exception as error:  # the stores have classes of their own: one shard is lost, not the job
            state = f"shard damaged: {_told(error)} ({count} samples were read)"
            yield from _broken(url, count, state if count else f"shard unreadable: {_told(error)}", wanted)


def count_rows(store: Store, retries: int) -> int | None:
    """The rows that a file's footer tells; None where it has none."""
    with RangeReader(store.filesystem, store.base, retries) as source:
        try:
            return int(pq.read_metadata(pa.PythonFile(source, mode="r")).num_rows)
        except Exception:  # as in reading; that says why
            return None


def _broken(url: str, index: int, error: str, wanted: Callable[[int], bool]) -> Iterator[Sample]:
    if wanted(index):
        yield Sample(shard=url, index=index, error=printable(error), shard_rows=index + 1)


def _told(error: BaseException) -> str:
    text = one_line(error)
    return (
        text
        if isinstance(error, ValueError) and not isinstance(error, pa.ArrowException)
        else (f"{type(error).__name__}: {text}")
    )


class _File:
    """An open file, its columns chosen. Raises what pyarrow or the store raise, and ValueError for contents."""

    def __init__(self, source: RangeReader, url: str, config: RefineConfig) -> None:
        self._source, self._url, self._config = source, url, config
        if not source.size:
            raise ValueError("empty file at byte 0")
        source.seek(max(0, source.size - len(MAGIC)))
        end = source.read(len(MAGIC))
        if end == ENCRYPTED:
            raise ValueError("the Parquet file is encrypted")
        if end != MAGIC:
            raise ValueError("the Parquet file has no footer: cut off, or not yet written to its end")
        source.seek(0)
        self._file = pa.PythonFile(source, mode="r")
        metadata = pq.read_metadata(self._file)
        source.seek(source.size - len(MAGIC) - 4)
        if int.from_bytes(source.read(4), "little") == metadata.serialized_size + SIGNATURE_BYTES:
            raise ValueError("the Parquet file is encrypted, all but its footer")
        buffer = min(max(BUFFER_BYTES // max(1, metadata.num_columns), LEAST_BUFFER), MOST_BUFFER)
        self._reader = pq.ParquetFile(self._file, metadata=metadata, buffer_size=buffer, pre_buffer=False)
        self._columns = choose_columns(self._reader.schema_arrow, config.input)
        self._stem = named_by_file(url)

    def samples(self, wanted: Callable[[int], bool]) -> Iterator[Sample]:
        metadata = self._reader.metadata
        if not metadata.num_rows:
            raise ValueError("it holds no samples")
        first = 0
        for group in range(metadata.num_row_groups):
            end = first + metadata.row_group(group).num_rows
            if any(map(wanted, range(first, end))):
                for sample in self._group(group, first, end, wanted):
                    last = sample.index == metadata.num_rows - 1
                    yield replace(sample, shard_rows=metadata.num_rows) if last else sample
            first = end

    def _group(self, group: int, first: int, end: int, wanted: Callable[[int], bool]) -> Iterator[Sample]:
        told = self._reader.metadata.row_group(group)
        rows = min(max(1, BATCH_BYTES * told.num_rows // max(1, told.total_byte_size)), MOST_ROWS)
        batches = self._reader.iter_batches(rows, [group], self._columns.read, use_threads=False)
        index = first
        try:
            for batch in batches:
                yield from self._samples(batch, index, wanted)
                index += batch.num_rows
            reason = "it has fewer rows than the footer tells"
        except Exception as error:  # damaged pages raise many classes
            if self._source.failure is not None:
                raise
            reason = _told(error)
        told_so = printable(f"row group {group} cannot be read: {reason}")
        for missing in filter(wanted, range(index, end)):
            yield Sample(shard=self._url, index=missing, key=self._default(missing), error=told_so)

    def _samples(self, batch: pa.RecordBatch, first: int, wanted: Callable[[int], bool]) -> Iterator[Sample]:
        chosen = self._columns
        rows = [row for row in range(batch.num_rows) if wanted(first + row)]
        if not rows:
            return
        columns = {name: batch.column(batch.schema.names.index(name)) for name in chosen.read}
        images = columns[chosen.image]
        paths: list[Any] = [None] * batch.num_rows
        if chosen.in_struct:
            if "path" in [field.name for field in images.type]:
                paths = values_of(pc.struct_field(images, "path"))
            images = pc.struct_field(images, "bytes")
        values = {name: values_of(column) for name, column in columns.items() if name != chosen.image}
        for row in rows:
            yield self._sample(
                first + row, images[row], paths[row], {name: its[row] for name, its in values.items()}
            )

    def _sample(self, index: int, image: Any, path: Any, values: dict[str, Any]) -> Sample:
        chosen = self._columns
        why = (
            path
            and f"only the path {str(path)[:100]!r} is there, and the file behind it is not part of the corpus"
        )
        if chosen.ours:
            why = values["error"] or "this table does not hold it"
        source, error = _bytes_of(image, why, self._config)
        if chosen.ours:
            prompt, metadata = Prompt(values["prompt"]), values["metadata"]
        else:
            metadata = as_metadata((name, values[name]) for name in chosen.others) if chosen.others else None
            prompt = find_prompt({}, metadata, source, self._config.input.prompt)
        key = values[chosen.key] if chosen.key is not None else path
        return Sample(
            shard=self._url,
            index=index,
            key=self._default(index) if key in (None, "") else named_by(str(key)),
            source=source,
            image_count=int(image.is_valid),
            prompt=prompt.text,
            prompt_source=prompt.source,
            metadata=metadata,
            error=error,
        )

    def _default(self, index: int) -> str:
        return f"{self._stem}/{index:08d}"


def _bytes_of(image: Any, why: str | None, config: RefineConfig) -> tuple[bytes | None, str | None]:
    """The image's bytes, or an error; ``why`` is the reason for a null."""
    if not image.is_valid:
        return None, f"image is null: {why}" if why else "image is null"
    size = image.as_buffer().size
    if size > config.images.max_megabytes * 1e6:
        return None, f"image member is too large: {size} bytes, over images.max_megabytes"
    return image.as_py(), None


def named_by_file(url: str) -> str:
    """What rows without a key of their own are named by: the file's name without its suffix."""
    return printable(PurePosixPath(url).name.removesuffix(".parquet"))
