"""The output's columns, one row per input sample, and how a row comes about (design, section 4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from qrefine.config import RefineConfig
from qrefine.data.images import encode
from qrefine.data.shards import RawSample
from qrefine.pipelines.sample import Sample, sample_seed
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
    ("shard_rows", pa.int32()),
)
STATUSES = ("refined", "kept", "failed")


def table_schema(judges: Sequence[str]) -> pa.Schema:
    """The columns with one ``<judge>_before``, ``<judge>_after`` pair per judge, and the Hugging Face features."""
    pairs = [(f"{judge_column(name)}_{when}", pa.float32()) for name in judges for when in ("before", "after")]
    schema = pa.schema([*COLUMNS, *pairs, *LAST_COLUMNS])
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


def make_row(
    raw: RawSample,
    sample: Sample | None,
    size: tuple[int, int] | None,
    icc_profile: bytes | None,
    config: RefineConfig,
    run: str,
) -> dict[str, Any]:
    """The row of one sample. ``sample`` is None where the source could not even be decoded; ``size``: (h, w)."""
    error = raw.error or (sample.error if sample is not None else "not decoded")
    refined = None
    if sample is not None and sample.refined is not None and error is None:
        try:
            refined = encode(sample.refined, config.images, icc_profile)
        except (OSError, ValueError) as problem:
            error = f"encode: {problem}"
    row: dict[str, Any] = {
        "key": raw.key,
        "shard": raw.shard,
        "index": raw.index,
        "status": "failed" if error else "kept" if refined is None else "refined",
        "error": error,
        "image": None,
        "prompt": raw.prompt,
        "metadata": raw.metadata,
        "source_sha256": None if raw.image is None else hashlib.sha256(raw.image).hexdigest(),
        "stages": [],
        "seed": sample_seed(raw.key, config.seed),
        "config": config.digest,
        "run": run,
        "shard_rows": raw.shard_rows,
    }
    if size is not None:
        row["height"], row["width"] = size
    if sample is not None and sample.before is not None:
        row |= _scores(sample.before, sample.after, config)
    if error is None and sample is not None:
        row["image"] = {"bytes": raw.image if refined is None else refined, "path": None}
        row["stages"] = list(sample.stages)
        for name, (before, after) in zip(config.judges, sample.judgements, strict=False):
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
