"""Image folders to samples: images with the side files of the same key, and what ``metadata.jsonl`` says of them.

A file's key is its path below the folder, cut as a tar member's name is. Keys without an image are no samples,
except where the metadata names one: that row says that the file does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from qrefine.config import RefineConfig
from qrefine.corpus.formats import SUFFIXES
from qrefine.corpus.grouping import Group, Reading, printable
from qrefine.corpus.names import Rule, side_kind, split_name
from qrefine.corpus.sidefile import NAMES, read_metadata
from qrefine.corpus.tar import FILES, Member
from qrefine.corpus.units import File, Shard, slices
from qrefine.errors import one_line
from qrefine.sample import Sample
from qrefine.storage.ahead import ahead
from qrefine.storage.reader import ResumingReader
from qrefine.storage.store import Store

READERS = 8  # files that are read at a time: object storage is bound by latency
READ_RETRIES = 5


def list_folder(store: Store, found: Iterable[File], rule: Rule = "auto") -> Iterator[Shard]:
    """The slices of a folder; ``found`` are its files, with names below it and without keys."""
    files = {file.name: file for file in found}
    texts: dict[str, str] = {}
    for name in sorted(
        filter(_is_metadata, files), key=lambda name: (name.count("/"), name)
    ):  # the deepest counts
        with ResumingReader(store.filesystem, f"{store.base}/{name}", READ_RETRIES) as source:
            texts.update(read_metadata(source, name))
    for name in texts.keys() - files.keys():
        files[name] = File(name, "")
    members = [(named, file) for file in files.values() if (named := split_name(file.name, rule)) and named[1]]
    keys = {named[0] for named, file in members if is_image(file.name) or file.name in texts}
    yield from slices(
        store.url,
        (
            replace(file, key=named[0], text=texts.get(file.name))
            for named, file in members
            if named[0] in keys
            and not _is_metadata(file.name)
            and (is_image(file.name) or side_kind(named[1].lower()) or file.name in texts)
        ),
    )


def is_image(name: str) -> bool:
    return name.rpartition(".")[2].lower() in SUFFIXES


def _is_metadata(name: str) -> bool:
    return name.rpartition("/")[2] in NAMES


def read_folder(
    store: Store,
    unit: Shard,
    config: RefineConfig,
    *,
    retries: int = 5,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Sample]:
    """The wanted samples of a slice in order; a file that cannot be read fails its own sample alone."""
    samples = [(key, tuple(its)) for key, its in groupby(unit.files, key=lambda file: file.key)]

    def read(index: int) -> Sample:
        sample = _sample(store, unit.url, index, *samples[index], config, retries)
        return replace(sample, shard_rows=len(samples)) if index == len(samples) - 1 else sample

    return ahead(read, filter(wanted, range(len(samples))), READERS)


def _sample(
    store: Store, url: str, index: int, key: str, files: tuple[File, ...], config: RefineConfig, retries: int
) -> Sample:
    group = Group(key)
    missing: str | None = None
    for file in files:
        suffix = file.name[len(key) + 1 :]
        with ResumingReader(store.filesystem, f"{store.base}/{file.name}", retries) as body:
            try:
                group.add(_member(file, body), suffix, config.images)
            except FileNotFoundError:
                missing = missing or (None if side_kind(suffix.lower()) else file.name)
                group.rank = group.rank if group.image else None
            except Exception as error:  # the stores have classes of their own
                reason = f"{file.name} cannot be read: {type(error).__name__}: {one_line(error)}"
                return Sample(shard=url, index=index, key=printable(key), error=printable(reason))
    text = next((file.text for file in files if file.text is not None), None)
    if text is not None:  # a json beside the image counts before the folder's metadata
        group.sides.setdefault("json", text.encode())
    if group.image is None and missing is not None:
        group.error = f"file does not exist: {missing}"
    return group.sample(url, index, Reading(config.images, config.input))


def _member(file: File, body: Any) -> Member:
    """A file as a member of an archive; ``body`` is its reader."""
    return Member(file.name, FILES[:1], file.size or 0, 0, None, "", False, body)
