"""What is told of each sample beside its image: the same names and types for every sample of an export.

``datasets`` takes names and types from the first samples of a json member or a ``metadata.jsonl``. A value that is
null there and a number later ends its reading; a field that only comes later is silently lost. So a column that is
null somewhere is left out. Of the samples' own json, the fields that all have with one type stay fields; where
that is not all of it, the whole json comes along as text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qrefine.corpus.formats import SUFFIXES
from qrefine.corpus.names import image_rank
from qrefine.table.beside import Beside
from qrefine.table.export.scan import scan
from qrefine.table.export.select import Selection
from qrefine.table.export.shapes import Common, Shape, fields_of, fitted, parsed
from qrefine.table.pieces import Piece
from qrefine.table.table import Table

NOT_TOLD = frozenset(
    {
        *("image", "image_offset", "image_size", "metadata", "members", "prompt", "error", "shard_rows"),
        *("quality_map_before", "quality_map_after"),
    }
)
OWN = "metadata"  # the field that holds a sample's own json as text
OURS = "qrefine"
SIDECARS = frozenset({"txt", "json"})  # every sample gets these


@dataclass(frozen=True)
class Content:
    """What all selected samples have."""

    columns: tuple[str, ...]  # told of each
    gaps: tuple[str, ...]  # columns that are null somewhere, and so are told of none
    fields: Mapping[str, Shape]  # of their own json
    whole: bool  # these are all fields of their own json
    members: tuple[str, ...]  # suffixes of their other members
    some: Mapping[str, int]  # suffixes that only so many samples have
    unknown: int  # samples of which the table does not know the members, since it was made before
    statuses: Mapping[str, int]
    prompts: int  # samples with a prompt
    refined: Counter[str]  # refined samples of each shard
    quality: tuple[float, float]  # sums before and after

    def told(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row's columns as json; stages are one text, since an empty list has no type."""
        found = {name: row[name] for name in self.columns}
        return {name: " ".join(value) if isinstance(value, list) else value for name, value in found.items()}

    def sidecar(self, row: dict[str, Any]) -> dict[str, Any]:
        """The json member of a sample: its own fields, and the columns under ``qrefine``."""
        own = fields_of(parsed(row["metadata"]))
        fields = {name: fitted(own[name], shape) for name, shape in self.fields.items()}
        return {**fields, **self.own_text(row), OURS: self.told(row)}

    def own_text(self, row: dict[str, Any]) -> dict[str, str]:
        """The sample's own json as text, where it has more than the fields."""
        return {} if self.whole else {OWN: row["metadata"] or ""}


def other_members(suffixes: Iterable[str], preferred: str | None = None) -> list[str]:
    """The suffixes, in lower case, beside a sample's image, text and json; ``preferred`` is that of the image."""
    others = [lower for suffix in suffixes if (lower := suffix.lower()) not in SIDECARS]
    images = [suffix for suffix in others if suffix.rpartition(".")[2] in SUFFIXES]
    image = min(images, key=lambda suffix: image_rank(suffix, preferred), default=None)
    return [suffix for suffix in others if suffix != image]


def describe(
    table: Table, pieces: Sequence[Piece], selection: Selection, preferred: str | None, beside: Beside
) -> Content:
    """What the selected rows have in common, in one pass over their columns without images."""
    told = [name for name in table.schema.names if name not in NOT_TOLD]
    told += [field.name for field in beside.fields(table.schema)]
    columns = [*told, "prompt", "metadata", *(["members"] if "members" in table.schema.names else [])]
    paths = sorted({piece.path for piece in pieces if piece.shard in selection.rows})
    all_ = _Seen()
    for part in scan(table, paths, columns, partial(_seen, selection, told, preferred), beside):
        for seen in part:
            all_.add(seen)
    gaps = tuple(name for name in told if all_.nulls[name])
    suffixes = sorted(all_.suffixes.items())
    return Content(
        columns=tuple(name for name in told if name not in gaps),
        gaps=gaps,
        fields=all_.own.fields or {},
        whole=all_.own.whole,
        members=tuple(suffix for suffix, count in suffixes if count == all_.count),
        some={suffix: count for suffix, count in suffixes if count < all_.count},
        unknown=all_.unknown,
        statuses=dict(sorted(all_.statuses.items())),
        prompts=all_.prompts,
        refined=all_.refined,
        quality=all_.quality,
    )


class _Seen:
    """What rows had."""

    def __init__(self) -> None:
        self.count = self.prompts = self.unknown = 0
        self.nulls: Counter[str] = Counter()
        self.suffixes: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.refined: Counter[str] = Counter()
        self.own = Common()
        self.quality = (0.0, 0.0)

    def add(self, other: _Seen) -> None:
        self.count += other.count
        self.prompts += other.prompts
        self.unknown += other.unknown
        self.nulls += other.nulls
        self.suffixes += other.suffixes
        self.statuses += other.statuses
        self.refined += other.refined
        self.own.join(other.own)
        self.quality = (self.quality[0] + other.quality[0], self.quality[1] + other.quality[1])


def _seen(selection: Selection, told: Sequence[str], preferred: str | None, rows: pa.Table) -> _Seen:
    """What the selected rows of a row group have."""
    rows = rows.filter(pa.array(_selected(selection, rows)))
    seen = _Seen()
    seen.count = rows.num_rows
    seen.prompts = rows.num_rows - rows["prompt"].null_count
    seen.nulls = Counter({name: rows[name].null_count for name in told})
    seen.statuses = Counter(rows["status"].to_pylist())
    seen.refined = Counter(rows.filter(pc.field("status") == "refined")["shard"].to_pylist())
    seen.quality = tuple(float(np.nansum(rows[f"quality_{when}"].to_numpy())) for when in ("before", "after"))  # type: ignore[assignment]
    seen.unknown = rows["members"].null_count if "members" in rows.column_names else rows.num_rows
    if "members" in rows.column_names:
        for suffixes in rows["members"].to_pylist():
            seen.suffixes.update(set(other_members(suffixes or (), preferred)))
    for text in rows["metadata"].to_pylist():
        seen.own.add(text)
    return seen


def _selected(selection: Selection, rows: pa.Table) -> Any:
    chosen = np.zeros(rows.num_rows, bool)
    shards = rows["shard"].combine_chunks().dictionary_encode()
    codes, indexes = shards.indices.to_numpy(zero_copy_only=False), rows["index"].to_numpy()
    for code, shard in enumerate(shards.dictionary.to_pylist()):
        if shard in selection.rows:
            here = codes == code
            chosen[here] = np.isin(indexes[here], selection.rows[shard])
    return chosen
