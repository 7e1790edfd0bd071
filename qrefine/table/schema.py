"""The output's columns, one row per input sample, and how a row comes about (design, section 4)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from qrefine.config import RefineConfig, sample_seed
from qrefine.corpus.shards import RawSample
from qrefine.errors import UserError
from qrefine.quality.map import QualityMap
from qrefine.quality.regions import fractions

MAP = pa.list_(pa.list_(pa.float32()))
COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("key", pa.string()),
    ("shard", pa.string()),
    ("index", pa.int32()),
    ("status", pa.string()),
    ("error", pa.string()),
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("prompt", pa.string()),
    ("metadata", pa.string()),
    ("source_sha256", pa.string()),
    ("quality_before", pa.float32()),
    ("quality_after", pa.float32()),
    ("quality_map_before", MAP),
    ("quality_map_after", MAP),
    ("lq_fraction", pa.float32()),
    ("mq_fraction", pa.float32()),
    ("hq_fraction", pa.float32()),
    ("stages", pa.list_(pa.string())),
)
LAST_COLUMNS: tuple[tuple[str, pa.DataType], ...] = (
    ("seed", pa.int64()),
    ("config", pa.string()),
    ("run", pa.string()),
    ("shard_version", pa.string()),
    ("shard_rows", pa.int32()),
)
STATUSES = ("refined", "kept", "failed")


def table_schema(judges: Sequence[str]) -> pa.Schema:
    """The columns with one ``<judge>_before``, ``<judge>_after`` pair per judge, and the Hugging Face features."""
    pairs = [(f"{judge_column(name)}_{when}", pa.float32()) for name in judges for when in ("before", "after")]
    columns = [*COLUMNS, *pairs, *LAST_COLUMNS]
    twice = [name for name, count in Counter(name for name, _ in columns).items() if count > 1]
    if twice:
        raise UserError(f"judges: two columns would be named {twice[0]}; give each judge a name of its own")
    schema = pa.schema(columns)
    features = {field.name: _feature(field) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def judge_column(name: str) -> str:
    """A judge's name as a column's: what stands behind the last colon, other characters than words' as ``_``."""
    return "".join(c if c.isalnum() else "_" for c in name.rpartition(":")[2])


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column's type in the words of the ``datasets`` library."""
    if field.name == "image":
        return {"_type": "Image"}

    def feature(kind: pa.DataType) -> dict[str, Any]:
        if pa.types.is_list(kind):
            return {"_type": "List", "feature": feature(kind.value_type)}
        names = {pa.string(): "string", pa.float32(): "float32"}
        return {"_type": "Value", "dtype": names.get(kind, str(kind))}

    return feature(field.type)


@dataclass(frozen=True)
class Outcome:
    """What the stages made of a sample, as its row needs it."""

    size: tuple[int, int] | None = None  # (h, w) after EXIF orientation; None: the source could not be decoded
    before: QualityMap | None = None
    after: QualityMap | None = None
    encoded: bytes | None = None  # the refined image; None: the source's own bytes are kept
    stages: tuple[str, ...] = ()
    judgements: tuple[tuple[float, float], ...] = ()
    error: str | None = None


def make_row(raw: RawSample, outcome: Outcome, config: RefineConfig, run: str) -> dict[str, Any]:
    """The row of one sample; a failed one keeps what is known of it and no image."""
    error = raw.error or outcome.error
    row: dict[str, Any] = {
        "key": raw.key,
        "shard": raw.shard,
        "index": raw.index,
        "status": "failed" if error else "kept" if outcome.encoded is None else "refined",
        "error": error,
        "image": None,
        "prompt": raw.prompt,
        "metadata": raw.metadata,
        "source_sha256": None if raw.image is None else hashlib.sha256(raw.image).hexdigest(),
        "stages": [],
        "seed": sample_seed(raw.key, config.seed, raw.draw),
        "config": config.digest,
        "run": run,
        "shard_version": raw.version,
        "shard_rows": raw.shard_rows,
    }
    if outcome.size is not None:
        row["height"], row["width"] = outcome.size
    if outcome.before is not None:
        row |= _scores(outcome.before, outcome.after, config)
    if error is None:
        row["image"] = {"bytes": raw.image if outcome.encoded is None else outcome.encoded, "path": None}
        row["stages"] = list(outcome.stages)
        for name, (before, after) in zip(config.judges, outcome.judgements, strict=False):
            row[f"{judge_column(name)}_before"], row[f"{judge_column(name)}_after"] = before, after
    return row


def _scores(before: QualityMap, after: QualityMap | None, config: RefineConfig) -> dict[str, Any]:
    after = before if after is None else after
    lq, mq, hq = fractions(before, config.bounds)
    return {
        "quality_before": before.score,
        "quality_after": after.score,
        "quality_map_before": before.values.tolist(),
        "quality_map_after": after.values.tolist(),
        "lq_fraction": lq,
        "mq_fraction": mq,
        "hq_fraction": hq,
    }


def check_columns(root: str, found: pa.Schema, expected: pa.Schema) -> None:
    """Raises UserError where a table's columns are not those expected; the order does not matter."""
    missing = [name for name in expected.names if name not in found.names]
    extra = [name for name in found.names if name not in expected.names]
    if missing or extra:
        raise UserError(
            f"{root} holds a table of other columns (missing: {', '.join(missing) or 'none'}; unknown:"
            f" {', '.join(extra) or 'none'}): choose another output, or the judges that it was made with"
        )
    for name in expected.names:
        if not _same_type(found.field(name).type, expected.field(name).type):
            raise UserError(
                f"{root} holds a table in which {name} is {found.field(name).type}, not"
                f" {expected.field(name).type}: choose another output"
            )


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Equal but for the names and nullability of list elements, which engines choose for themselves."""
    if pa.types.is_list(a) and pa.types.is_list(b):
        return _same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        return [f.name for f in a] == [f.name for f in b]
    return a.equals(b)
