"""From the shards of a lane to the files of a layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from qrefine.table.export.files import Members, Picture, cut, write_folder, write_parquet, write_tar
from qrefine.table.export.names import Names, file_key, loader_key
from qrefine.table.export.output import Counts, File
from qrefine.table.export.rows import Lane
from qrefine.table.export.samples import (
    Job,
    Make,
    members,
    picture,
    preference_table,
    restoration,
    restoration_table,
    source_members,
    table_row,
)

Write = Callable[[Job, Lane], tuple[list[File], Counts]]
Keyed = tuple[str, int, Any]
"""The key and the index of a sample in its shard, and what is written of it."""


def layout(format_: str, source_layout: bool, pairs: str | None) -> Write:
    """What writes a lane in the layout that is asked for."""
    if source_layout:
        return _shards
    if pairs == "preference":
        return partial(_parquet, preference_table)
    if pairs == "restoration":
        return partial(_tars, restoration) if format_ == "webdataset" else partial(_parquet, restoration_table)
    formats: dict[str, Write] = {
        "webdataset": partial(_tars, members),
        "parquet": partial(_parquet, table_row),
        "imagefolder": partial(_folders, picture),
    }
    return formats[format_]


def _made(make: Make, job: Job, shards: Iterable[str], counts: Counts) -> Iterator[Keyed]:
    for shard in shards:
        for row in job.rows(shard, counts):
            found = make(job, row, counts)
            if found is not None:
                yield row.values["key"], row.values["index"], found


def _named(
    samples: Iterable[Keyed], counts: Counts, names: Names, usual: Callable[[str, int], str]
) -> Iterator[tuple[str, Any]]:
    """The samples of one file with keys that are its own."""
    for key, index, found in samples:
        name = names.unique(usual(key, index))
        counts.renamed += name != key
        yield name, found


def _files(
    job: Job, lane: Lane, samples: Iterator[Any], write: Callable[[str, Iterator[Any]], File]
) -> list[File]:
    numbered = enumerate(cut(samples, job.samples), lane.first_file)
    return [write(f"{number:06d}", some) for number, some in numbered]


def _tars(make: Make, job: Job, lane: Lane) -> tuple[list[File], Counts]:
    counts = Counts()

    def write(name: str, some: Iterator[Keyed]) -> File:
        named = _named(some, counts, Names(), loader_key)
        whole = ([(f"{key}.{suffix}", data) for suffix, data in found] for key, found in named)
        return write_tar(job.out, f"{name}.tar", whole)

    return _files(job, lane, _made(make, job, lane.shards, counts), write), counts


def _folders(make: Make, job: Job, lane: Lane) -> tuple[list[File], Counts]:
    counts = Counts()

    def write(name: str, some: Iterator[Keyed]) -> File:
        named = _named(some, counts, Names(fold=True), file_key)
        pictures: Iterator[Picture] = (found._replace(key=key) for key, found in named)
        return write_folder(job.out, name, pictures)

    return _files(job, lane, _made(make, job, lane.shards, counts), write), counts


def _parquet(make: Make, job: Job, lane: Lane) -> tuple[list[File], Counts]:
    counts = Counts()
    rows = (found for _, _, found in _made(make, job, lane.shards, counts))
    return _files(job, lane, rows, lambda name, some: write_parquet(job.out, f"{name}.parquet", some)), counts


def _shards(job: Job, lane: Lane) -> tuple[list[File], Counts]:
    """A file for each source shard."""
    counts = Counts()
    files = []
    for shard in lane.shards:
        name = job.tars[shard]
        job.out.folder_of(name)
        samples = (found for _, _, found in _made(source_members, job, [shard], counts))
        files.append(write_tar(job.out, name, _counted(samples, counts)))
    return files, counts


def _counted(samples: Iterable[Members], counts: Counts) -> Iterator[Members]:
    for members_ in samples:
        counts.members[" ".join(sorted(name.rpartition(".")[2] for name, _ in members_))] += 1
        yield members_
