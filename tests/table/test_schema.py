"""Rows of the table: one for each sample, whatever became of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from qrefine.config import RefineConfig, load_config, sample_seed
from qrefine.errors import UserError
from qrefine.quality.map import QualityMap
from qrefine.sample import Sample
from qrefine.table.schema import STATUSES, judge_column, make_row, table_schema
from tests.support import encoded, photo

CONFIG = load_config(None, ["mapper.grid=4"])
SOURCE = encoded(photo(size=16))
BEFORE = QualityMap(np.repeat(np.array([[0.1, 0.5, 0.7, 1.0]], dtype=np.float32), 4, axis=0))
AFTER = QualityMap(np.full((4, 4), 0.9, dtype=np.float32))
READ = Sample("s3://b/0.tar", 3, "k/0003", SOURCE, 1, "a corgi", '{"x": 1}', shard_version="9-v", shard_rows=4)
KEPT = replace(READ, size=(16, 8), before=BEFORE)
REFINED = replace(
    KEPT, after=AFTER, output=b"new bytes", stages=("inpaint", "enhance_blind"), judgements=((50.0, 40.0),)
)


def row(sample: Sample, config: RefineConfig = CONFIG) -> dict[str, object]:
    """The row as the table holds it, through Arrow and the table's own types."""
    return pa.Table.from_pylist(
        [make_row(sample, config, "run-1")], schema=table_schema(config.judges)
    ).to_pylist()[0]


def test_a_refined_sample_has_its_new_bytes_scores_and_stages() -> None:
    found = row(REFINED)
    assert found["status"] == "refined"
    assert found["error"] is None
    assert found["image"] == {"bytes": b"new bytes", "path": None}
    assert (found["width"], found["height"]) == (8, 16)
    assert (found["key"], found["shard"], found["index"]) == ("k/0003", "s3://b/0.tar", 3)
    assert (found["prompt"], found["metadata"]) == ("a corgi", '{"x": 1}')
    assert (found["shard_version"], found["shard_rows"]) == ("9-v", 4)
    assert found["source_sha256"] == hashlib.sha256(SOURCE).hexdigest()
    assert found["quality_before"] == pytest.approx(0.575, abs=1e-6)
    assert found["quality_after"] == pytest.approx(0.9, abs=1e-6)
    assert np.array_equal(np.array(found["quality_map_before"], dtype=np.float32), BEFORE.values)
    assert np.array_equal(np.array(found["quality_map_after"], dtype=np.float32), AFTER.values)
    assert (found["lq_fraction"], found["mq_fraction"], found["hq_fraction"]) == (0.25, 0.25, 0.5)
    assert found["stages"] == ["inpaint", "enhance_blind"]
    assert (found["piqe_before"], found["piqe_after"]) == (50.0, 40.0)
    assert found["seed"] == sample_seed("k/0003", CONFIG.seed)
    assert (found["config"], found["run"]) == (CONFIG.digest, "run-1")


def test_a_kept_sample_has_its_sources_bytes_and_equal_scores() -> None:
    found = row(KEPT)
    assert found["status"] == "kept"
    assert found["image"] == {"bytes": SOURCE, "path": None}
    assert found["quality_before"] == found["quality_after"]
    assert found["quality_map_before"] == found["quality_map_after"]
    assert found["stages"] == []
    assert found["piqe_before"] is None


@pytest.mark.parametrize(
    "sample",
    [
        READ.failed("ValueError in map: boom"),
        Sample("s", 0, error="shard is empty", shard_rows=1),
        Sample("s", 0, "k", prompt="p", error="no image member"),
        REFINED.failed("encode: OSError"),
        replace(READ, size=(16, 8), before=BEFORE, error="RuntimeError in inpaint: boom"),
    ],
    ids=["stage", "shard", "no image", "encode", "after the map"],
)
def test_a_failed_sample_says_why_and_has_no_image(sample: Sample) -> None:
    found = row(sample)
    assert found["status"] == "failed"
    assert found["error"] == sample.error
    assert found["image"] is None
    assert found["stages"] == []
    assert found["piqe_before"] is None
    assert found["piqe_after"] is None
    assert (found["key"], found["prompt"], found["shard_rows"]) == (sample.key, sample.prompt, sample.shard_rows)


def test_a_failed_sample_tells_what_was_found_before_it_failed() -> None:
    found = row(KEPT.failed("RuntimeError in inpaint: boom"))
    assert (found["width"], found["height"]) == (8, 16)
    assert found["quality_before"] == found["quality_after"] == pytest.approx(0.575, abs=1e-6)
    assert found["source_sha256"] == hashlib.sha256(SOURCE).hexdigest()


def test_every_status_is_one_of_three() -> None:
    samples = (REFINED, KEPT, KEPT.failed("e"))
    assert tuple(row(sample)["status"] for sample in samples) == STATUSES


def test_another_draw_is_another_seed() -> None:
    again = row(replace(KEPT, draw=2))
    assert again["seed"] == sample_seed("k/0003", CONFIG.seed, 2) != row(KEPT)["seed"]


def test_each_judge_has_a_pair_of_columns() -> None:
    names = table_schema(("piqe", "my.metrics:clip-iqa+")).names
    assert [n for n in names if n.endswith(("_before", "_after"))][-4:] == [
        "piqe_before", "piqe_after", "clip_iqa__before", "clip_iqa__after",
    ]  # fmt: skip
    assert judge_column("a.b:C") == "C"


@pytest.mark.parametrize(
    "judges", [("piqe", "piqe"), ("piqe", "qrefine.models.mappers.piqe:piqe"), ("my.metrics:quality",)]
)
def test_judges_whose_columns_would_be_one_are_refused(judges: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="judges: two columns would be named"):
        table_schema(judges)


def test_the_features_name_every_column_in_the_words_of_datasets() -> None:
    from datasets import Features, Image, List, Value

    schema = table_schema(("piqe",))
    features = Features.from_dict(json.loads(schema.metadata[b"huggingface"])["info"]["features"])
    assert list(features) == schema.names
    assert isinstance(features["image"], Image)
    assert features["quality_map_before"] == List(List(Value("float32")))
    assert features["stages"] == List(Value("string"))
    assert features["index"] == Value("int32")
    assert features["seed"] == Value("int64")
