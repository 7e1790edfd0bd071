"""The table's columns: their names, types, and how the values are made. Each input sample is one row.

A new column is one line here, which reads a field of `Sample`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import pyarrow as pa

from qrefine.config import RefineConfig, sample_seed
from qrefine.errors import UserError
from qrefine.quality.map import QualityMap
from qrefine.quality.regions import fractions
from qrefine.sample import Sample

MAP = pa.list_(pa.list_(pa.float32()))


class Context(NamedTuple):
    """What the columns of one row are made from."""

    sample: Sample
    config: RefineConfig
    run: str


class Column(NamedTuple):
    """A column; ``value`` returns None where the sample has no value."""

    name: str
    type: pa.DataType
    value: Callable[[Context], Any]


def stored_image(sample: Sample, config: RefineConfig) -> bytes | None:
    """The refined image, else the source's own bytes; None where it failed or ``images.store`` leaves it out.

    With ``refined`` a kept image stays out only where a range of its shard holds it: an archive that is
    compressed would have to be read from its beginning.
    """
    store = config.images.store
    if sample.error is not None or store == "none":
        return None
    if store == "refined" and sample.output is None and sample.offset is not None:
        return None
    return sample.source if sample.output is None else sample.output


def _image(row: Context) -> dict[str, Any] | None:
    data = stored_image(row.sample, row.config)
    return None if data is None else {"bytes": data, "path": None}


def _score(quality: QualityMap) -> float:
    return quality.score


def _values(quality: QualityMap) -> list[list[float]]:
    return quality.values.tolist()


def _of_map(of: Callable[[QualityMap], Any], name: str) -> Callable[[Context], Any]:
    """A value of the map ``before`` or ``after``; where nothing was accepted, ``after`` is ``before``."""

    def value(row: Context) -> Any:
        quality = row.sample.before if name == "before" else row.sample.after or row.sample.before
        return None if quality is None else of(quality)

    return value


def _map_after(row: Context) -> list[list[float]] | None:
    """The map after; in a table of scores, where nothing is refined, it would be the map before once more."""
    return _of_map(_values, "after")(row) if row.config.stages else None


def _fraction(place: int) -> Callable[[Context], float | None]:
    def value(row: Context) -> float | None:
        quality = row.sample.before
        return None if quality is None else fractions(quality, row.config.bounds)[place]

    return value


def _sha256(row: Context) -> str | None:
    return None if row.sample.source is None else hashlib.sha256(row.sample.source).hexdigest()


COLUMNS = (
    Column("key", pa.string(), lambda row: row.sample.key),
    Column("shard", pa.string(), lambda row: row.sample.shard),
    Column("index", pa.int32(), lambda row: row.sample.index),
    Column("status", pa.string(), lambda row: row.sample.status),
    Column("decision", pa.string(), lambda row: row.sample.verdict),
    Column("error", pa.string(), lambda row: row.sample.error),
    Column("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]), _image),
    Column("image_offset", pa.int64(), lambda row: row.sample.offset),
    Column("image_size", pa.int64(), lambda row: None if row.sample.source is None else len(row.sample.source)),
    Column("width", pa.int32(), lambda row: row.sample.size and row.sample.size[1]),
    Column("height", pa.int32(), lambda row: row.sample.size and row.sample.size[0]),
    Column("prompt", pa.string(), lambda row: row.sample.prompt),
    Column("prompt_source", pa.string(), lambda row: row.sample.prompt_source),
    Column("metadata", pa.string(), lambda row: row.sample.metadata),
    Column("members", pa.list_(pa.string()), lambda row: list(row.sample.members)),
    Column("source_sha256", pa.string(), _sha256),
    Column("quality_before", pa.float32(), _of_map(_score, "before")),
    Column("quality_after", pa.float32(), _of_map(_score, "after")),
    Column("quality_map_before", MAP, _of_map(_values, "before")),
    Column("quality_map_after", MAP, _map_after),
    Column("lq_fraction", pa.float32(), _fraction(0)),
    Column("mq_fraction", pa.float32(), _fraction(1)),
    Column("hq_fraction", pa.float32(), _fraction(2)),
    Column("stages", pa.list_(pa.string()), lambda row: [] if row.sample.error else list(row.sample.stages)),
    Column("lost", pa.list_(pa.string()), lambda row: [] if row.sample.error else list(row.sample.lost)),
)
LAST_COLUMNS = (
    Column("seed", pa.int64(), lambda row: sample_seed(row.sample.key, row.config.seed, row.sample.draw)),
    Column("config", pa.string(), lambda row: row.config.digest),
    Column("run", pa.string(), lambda row: row.run),
    Column("shard_version", pa.string(), lambda row: row.sample.shard_version),
    Column("shard_rows", pa.int32(), lambda row: row.sample.shard_rows),
)
IMAGES = ("image", "before", "after", "mask")
"""Columns that hold image files; those but the first in exported pairs."""
STATUSES = ("refined", "kept", "failed")
ADDED = {
    "decision": pa.string(),
    "image_offset": pa.int64(),
    "image_size": pa.int64(),
    "lost": pa.list_(pa.string()),
    "prompt_source": pa.string(),
    "members": pa.list_(pa.string()),
}
"""Columns that a table may lack because it is older than they are: null in its rows, and a run adds them."""


@cache
def columns(judges: tuple[str, ...]) -> tuple[Column, ...]:
    """All columns, with one ``<judge>_before``, ``<judge>_after`` pair for each judge."""
    pairs = (_judge_columns(name, place) for place, name in enumerate(judges))
    return (*COLUMNS, *(column for pair in pairs for column in pair), *LAST_COLUMNS)


def _judge_columns(name: str, place: int) -> tuple[Column, Column]:
    def value(when: int) -> Callable[[Context], float | None]:
        def judged(row: Context) -> float | None:
            if row.sample.error is not None or place >= len(row.sample.judgements):
                return None
            score = row.sample.judgements[place][when]
            return None if math.isnan(score) else score

        return judged

    column = judge_column(name)
    return (
        Column(f"{column}_before", pa.float32(), value(0)),
        Column(f"{column}_after", pa.float32(), value(1)),
    )


def table_schema(judges: Sequence[str]) -> pa.Schema:
    """The columns as Arrow's schema, with the Hugging Face features. Raises UserError where two have one name."""
    found = [(column.name, column.type) for column in columns(tuple(judges))]
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise UserError(f"judges: two columns would be named {twice[0]}; give each judge a name of its own")
    return with_features(pa.schema(found))


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with its columns as features of the ``datasets`` library, where the hub looks for them."""
    features = {field.name: _feature(field) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def judge_column(name: str) -> str:
    """A judge's column name: the text after the last colon, with characters that are not alphanumeric as ``_``."""
    return "".join(c if c.isalnum() else "_" for c in name.rpartition(":")[2])


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column's type as a feature of the ``datasets`` library."""
    if field.name in IMAGES and pa.types.is_struct(field.type):
        return {"_type": "Image"}

    def feature(kind: pa.DataType) -> dict[str, Any]:
        if pa.types.is_list(kind):
            return {"_type": "List", "feature": feature(kind.value_type)}
        names = {pa.string(): "string", pa.float32(): "float32"}
        return {"_type": "Value", "dtype": names.get(kind, str(kind))}

    return feature(field.type)


def make_row(sample: Sample, config: RefineConfig, run: str) -> dict[str, Any]:
    """The row of one sample whose refined pixels are encoded."""
    row = Context(sample, config, run)
    return {column.name: column.value(row) for column in columns(config.judges)}


def with_added(rows: pa.Table) -> pa.Table:
    """Rows of a part that is older than some of the columns, with nulls in those."""
    missing = [name for name in ADDED if name not in rows.column_names]
    if not missing or "status" not in rows.column_names:
        return rows
    for name in missing:
        rows = rows.append_column(name, pa.nulls(rows.num_rows, ADDED[name]))
    first, last = ([column.name for column in some] for some in (COLUMNS, LAST_COLUMNS))
    judges = [name for name in rows.column_names if name not in {*first, *last}]
    return rows.select([name for name in (*first, *judges, *last) if name in rows.column_names])


def check_columns(root: str, found: pa.Schema, expected: pa.Schema) -> None:
    """Raises UserError where a table's columns are not those expected; the order does not matter, nor do ADDED."""
    missing = [name for name in expected.names if name not in found.names and name not in ADDED]
    extra = [name for name in found.names if name not in expected.names]
    if missing or extra:
        raise UserError(
            f"{root} holds a table of other columns (missing: {', '.join(missing) or 'none'}; unknown:"
            f" {', '.join(extra) or 'none'}): choose another output, or the judges that it was made with"
        )
    for name in expected.names:
        if name in found.names and not _same_type(found.field(name).type, expected.field(name).type):
            raise UserError(
                f"{root} holds a table in which {name} is {found.field(name).type}, not"
                f" {expected.field(name).type}: choose another output"
            )


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Equal except for the names and nullability of list elements, which engines choose for themselves."""
    if pa.types.is_list(a) and pa.types.is_list(b):
        return _same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        return [f.name for f in a] == [f.name for f in b]
    return a.equals(b)
