"""The reader of each kind of unit, behind one function; all of them yield the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from qrefine.config import RefineConfig
from qrefine.corpus.folders import read_folder
from qrefine.corpus.parquet import MAGIC, count_rows, read_parquet
from qrefine.corpus.shards import read_shard
from qrefine.corpus.units import Shard, inner
from qrefine.sample import Sample
from qrefine.storage.store import Store


class Reader(Protocol):
    """A unit's samples in order, those whose index is ``wanted``; memory is bounded whatever the unit's size.

    The index counts all samples from 0, the same in each read of a unit that did not change. The last one carries
    ``shard_rows``. What cannot be read is a failed sample, and nothing else is lost: a unit has at least one.
    """

    def __call__(
        self, unit: Shard, config: RefineConfig, *, retries: int, wanted: Callable[[int], bool]
    ) -> Iterator[Sample]: ...


def read_unit(
    unit: Shard,
    config: RefineConfig,
    *,
    retries: int | None = None,
    wanted: Callable[[int], bool] = lambda index: True,
) -> Iterator[Sample]:
    """The samples of any unit, as `Reader` says; ``retries`` is ``stream.read_retries`` where it is not given."""
    retries = config.stream.read_retries if retries is None else retries
    return _reader(unit, config)(unit, config, retries=retries, wanted=wanted)


def is_archive(unit: Shard, config: RefineConfig) -> bool:
    """Whether the unit is a tar, compressed or not."""
    return _reader(unit, config) is _tar


def count_samples(unit: Shard, config: RefineConfig) -> int | None:
    """The number of samples of a unit, where it can be told without reading them; a tar tells none."""
    if unit.files:
        return len({file.key for file in unit.files})
    if _reader(unit, config) is _parquet:
        return count_rows(first_file(unit, config), config.stream.read_retries)
    return None


def first_file(unit: Shard, config: RefineConfig) -> Store:
    """A file that reading the unit begins with."""
    place = inner(unit.url)
    if place is None:
        return Store.at(unit.url, config.storage_options)
    names = [file.name for file in unit.files if file.size is not None]  # without those that are not there
    return Store.at(place.container, config.storage_options).join(place.part or (names or [unit.files[0].name])[0])


def _reader(unit: Shard, config: RefineConfig) -> Reader:
    place = inner(unit.url)
    if place is not None:
        return _parquet if place.bits is None else _folder
    name = unit.url.rpartition("/")[2].lower()
    if name.endswith(".parquet"):
        return _parquet
    return _tar if ".tar" in name or name.endswith(".tgz") or not _is_parquet(unit, config) else _parquet


def _is_parquet(unit: Shard, config: RefineConfig) -> bool:
    try:
        with Store.at(unit.url, config.storage_options).reader(config.stream.read_retries) as source:
            return source.read(len(MAGIC)) == MAGIC
    except Exception:  # the reader that is taken will meet it too, and say so
        return False


def _tar(unit: Shard, config: RefineConfig, *, retries: int, wanted: Callable[[int], bool]) -> Iterator[Sample]:
    options = config.storage_options
    return read_shard(unit.url, config.images, options, input=config.input, retries=retries, wanted=wanted)


def _parquet(
    unit: Shard, config: RefineConfig, *, retries: int, wanted: Callable[[int], bool]
) -> Iterator[Sample]:
    return read_parquet(first_file(unit, config), unit.url, config, retries=retries, wanted=wanted)


def _folder(unit: Shard, config: RefineConfig, *, retries: int, wanted: Callable[[int], bool]) -> Iterator[Sample]:
    place = inner(unit.url)
    store = Store.at(place.container if place else unit.url, config.storage_options)
    return read_folder(store, unit, config, retries=retries, wanted=wanted)
