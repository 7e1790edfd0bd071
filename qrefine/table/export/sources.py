"""The source shards behind a table's rows, read again: other members of samples, images from before refinement.

A shard is read once, in order, and memory holds a sample of it. Nothing is taken from a shard that is another one
now than when its rows were made: its version tells, and each image's digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qrefine.config import RefineConfig, parse_config
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import is_archive
from qrefine.corpus.units import Shard, inner
from qrefine.errors import UserError
from qrefine.storage.ahead import ahead
from qrefine.table.images import CHANGED, GONE
from qrefine.table.lease import FOLDER
from qrefine.table.pieces import Piece, has_changed, recorded_versions
from qrefine.table.table import Table

CHECKS = 16  # shards that are asked for at a time
MISSING = "source sample is not where it was"


@dataclass(frozen=True)
class Sources:
    """How to read the shards of a table, and which of them cannot be used any more, and why."""

    configs: Mapping[str, RefineConfig]  # by shard: the settings that its samples were found with
    units: Mapping[str, Shard]  # those that are there
    lost: Mapping[str, str]

    @classmethod
    def of(cls, table: Table, pieces: Sequence[Piece], shards: Iterable[str], given: RefineConfig) -> Sources:
        """Asks for each shard's version; one that a store refuses is lost too."""
        wanted = list(shards)
        recorded = recorded_versions(pieces)
        digests = {piece.shard: piece.configs[-1] for piece in pieces if piece.configs}
        saved = {digest: _saved(table, digest, given) for digest in set(digests.values())}
        listed = {place.container for shard in wanted if (place := inner(shard))}
        urls = [*sorted(listed), *(shard for shard in wanted if inner(shard) is None)]
        found = ahead(lambda url: _units(url, given), urls, CHECKS, 2 * CHECKS)
        units = {unit.url: unit for some in found for unit in some}
        lost = {shard: reason for shard in wanted if (reason := _lost(units.get(shard), recorded[shard]))}
        return cls({shard: saved.get(digests.get(shard, ""), given) for shard in wanted}, units, lost)

    def only(self, shards: Iterable[str]) -> Sources:
        """The same for some shards alone."""
        wanted = list(shards)
        return Sources({s: self.configs[s] for s in wanted}, {s: self.units[s] for s in wanted}, {})

    def has_members(self, shard: str) -> bool:
        """Whether the shard's samples have members: rows of Parquet files have none."""
        unit = self.units[shard]
        place = inner(shard)
        return is_archive(unit, self.configs[shard]) if place is None else place.bits is not None


def is_source(image: bytes, row: Mapping[str, Any]) -> bool:
    """Whether an image is the one that the row was made of, by its digest."""
    return hashlib.sha256(image).hexdigest() == row["source_sha256"]


def _saved(table: Table, digest: str, given: RefineConfig) -> RefineConfig:
    """The settings that a run left beside the table, with those given where it left none."""
    try:
        found = parse_config(json.loads(table.store.read(f"{FOLDER}/config-{digest}.json")))
    except (OSError, ValueError, UserError):  # made by another version of this package
        return given
    return found.model_copy(update={"storage_options": given.storage_options, "stream": given.stream})


def _units(url: str, config: RefineConfig) -> list[Shard]:
    """The units at a URL, none where there is nothing any more."""
    try:
        return list_shards([re.sub(r"([{},\\])", r"\\\1", url)], config.storage_options, config.input.keys)
    except UserError:
        return []


def _lost(unit: Shard | None, recorded: set[str | None]) -> str | None:
    """Why a unit cannot be read any more; None where it can."""
    if unit is None:
        return GONE
    return CHANGED if has_changed(unit.version, recorded) else None
