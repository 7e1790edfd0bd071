"""Samples as Arrow: what travels between pools is bytes; an image is decoded only inside the actor it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from qrefine.config import RefineConfig, sample_seed
from qrefine.corpus.images import ImageError, decode, encode, icc_profile
from qrefine.corpus.shards import RawSample
from qrefine.quality.map import QualityMap
from qrefine.stages.sample import Sample, Stage, concerned, guarded
from qrefine.table.schema import Outcome

RAW = pa.schema(
    [
        ("shard", pa.string()),
        ("index", pa.int32()),
        ("key", pa.string()),
        ("image", pa.large_binary()),
        ("images", pa.int32()),
        ("prompt", pa.string()),
        ("metadata", pa.string()),
        ("error", pa.string()),
        ("shard_rows", pa.int32()),
        ("version", pa.string()),
        ("draw", pa.int64()),
    ]
)
WORK = pa.schema(
    [
        *RAW,
        ("size", pa.list_(pa.int32())),  # h, w
        ("before", pa.binary()),  # the map's float32 values
        ("after", pa.binary()),
        ("pixels", pa.large_binary()),  # raw RGB of an image that changed
        ("stages", pa.list_(pa.string())),
        ("judgements", pa.list_(pa.list_(pa.float64()))),
    ]
)
EMPTY = np.zeros((0, 0, 3), dtype=np.uint8)


def raw_blocks(samples: Iterable[RawSample], most_bytes: float) -> Iterator[pa.Table]:
    """Samples as blocks of about ``most_bytes``, at least one sample each."""
    rows: list[dict[str, Any]] = []
    size = 0
    for sample in samples:
        rows.append({name: getattr(sample, name) for name in RAW.names})
        size += len(sample.image or b"") + len(sample.prompt or "") + len(sample.metadata or "")
        if size >= most_bytes:
            yield pa.Table.from_pylist(rows, schema=RAW)
            rows, size = [], 0
    if rows:
        yield pa.Table.from_pylist(rows, schema=RAW)


def raw_sample(row: dict[str, Any]) -> RawSample:
    return RawSample(**{name: row[name] for name in RAW.names})


def outcome(row: dict[str, Any], config: RefineConfig) -> Outcome:
    """What a working row says for its table row, refined pixels encoded; an encoder's error becomes the row's."""
    encoded, error = None, None
    if row.get("pixels") is not None and row["error"] is None:
        try:
            encoded = encode(_pixels(row), config.images, icc_profile(row["image"]))
        except (OSError, ValueError) as problem:
            error = f"encode: {problem}"
    return Outcome(
        tuple(row["size"]) if row.get("size") else None,
        _map(row.get("before")),
        _map(row.get("after")),
        encoded,
        tuple(row.get("stages") or ()),
        tuple((before, after) for before, after in row.get("judgements") or ()),
        error,
    )


Loaded = tuple[list[dict[str, Any]], Iterable[Sample]]
"""Working rows and the sample of each."""


def load_batch(
    batch: pa.Table, stages: Sequence[Stage], config: RefineConfig, each: Callable[..., Iterable[Sample]] = map
) -> Loaded:
    """The rows of a batch and their samples, decoded where one of the stages wants them.

    ``each`` is how: `map` decodes when the samples are asked for, an executor's `map` at once in its threads.
    """
    rows = batch.to_pylist()
    return rows, each(partial(_load, stages=stages, config=config), rows)


def run_on_batch(
    loaded: Loaded,
    stages: Sequence[Stage],
    watch: Callable[[Stage, int, float], None] = lambda stage, samples, seconds: None,
) -> pa.Table:
    """Run stages in a row on a batch of working rows; same rows, same order, errors as data.

    ``watch`` hears of each stage how many samples it worked on, and how long.
    """
    rows, samples = loaded[0], list(loaded[1])
    for stage in stages:
        began = time.perf_counter()
        count = len(concerned(stage, samples))
        samples = guarded(stage, samples)
        watch(stage, count, time.perf_counter() - began)
    for row, sample in zip(rows, samples, strict=True):
        _store(row, sample)
    return pa.Table.from_pylist(rows, schema=WORK)


def _load(row: dict[str, Any], stages: Sequence[Stage], config: RefineConfig) -> Sample:
    """The sample of a row, decoded only if one of the stages wants it."""
    sample = Sample(
        EMPTY,
        row["prompt"] or "",
        sample_seed(row["key"], config.seed, row["draw"]),
        _map(row.get("before")),
        EMPTY if row.get("pixels") is not None else None,
        tuple(row.get("stages") or ()),
        _map(row.get("after")),
        tuple((before, after) for before, after in row.get("judgements") or ()),
        row["error"],
    )
    # before it is mapped every sample is wanted; after that the stages tell by the map
    if sample.error is not None or (sample.before is not None and not any(s.wants(sample) for s in stages)):
        return sample
    try:
        image = decode(row["image"], config.images)
    except ImageError as error:
        return replace(sample, error=str(error))
    row["size"] = list(image.shape[:2])
    return replace(sample, image=image, refined=None if sample.refined is None else _pixels(row))


def _store(row: dict[str, Any], sample: Sample) -> None:
    row["error"] = sample.error
    row["before"] = None if sample.before is None else sample.before.values.tobytes()
    row["after"] = None if sample.after is None else sample.after.values.tobytes()
    row["stages"] = list(sample.stages)
    row["judgements"] = [list(pair) for pair in sample.judgements]
    if sample.image is EMPTY:
        return  # it was not decoded, so its pixels are as they came
    row["pixels"] = None if sample.refined is None else sample.refined.tobytes()


def _pixels(row: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(row["pixels"], dtype=np.uint8).reshape(*row["size"], 3)


def _map(values: bytes | None) -> QualityMap | None:
    if values is None:
        return None
    grid = np.frombuffer(values, dtype=np.float32)
    n = int(len(grid) ** 0.5)
    return QualityMap(grid.reshape(n, n))
