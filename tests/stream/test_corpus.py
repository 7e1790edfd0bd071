"""The main job with the shipped settings on a real corpus: ``QREFINE_CORPUS`` names it, else the demo's."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import ray

from qrefine.api import refine
from qrefine.cli.demo import write_corpus
from qrefine.config import load_config
from qrefine.corpus.images import decode
from qrefine.corpus.listing import list_shards
from qrefine.corpus.shards import read_shard
from qrefine.table.table import open_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("cluster")]
CONFIG = load_config()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return os.environ.get("QREFINE_CORPUS") or write_corpus(tmp_path_factory.mktemp("corpus"))


def rows_of(table: Path) -> pd.DataFrame:
    rows = open_table(str(table)).to_pandas().sort_values(["shard", "index"]).reset_index(drop=True)
    return rows.drop(columns="run")


@pytest.fixture(scope="module")
def table(corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "table"
    summary = refine([corpus], str(folder), CONFIG)
    print(f"\n{summary}")
    return folder


def test_every_sample_is_there_once_and_its_image_decodes(corpus: str, table: Path) -> None:
    expected = {
        (sample.shard, sample.index): sample.source
        for shard in list_shards([corpus], {})
        for sample in read_shard(shard.url, CONFIG.images)
    }
    rows = rows_of(table)
    assert len(rows) == len(expected)
    assert set(zip(rows["shard"], rows["index"], strict=True)) == set(expected)
    for row in rows.to_dict("records"):
        source = expected[row["shard"], row["index"]]
        if row["status"] == "failed":
            assert row["image"] is None
            assert row["error"]
            continue
        assert decode(row["image"]["bytes"], CONFIG.images).shape == (row["height"], row["width"], 3)
        if row["status"] == "kept":
            assert row["image"]["bytes"] == source
        else:
            assert row["quality_after"] > row["quality_before"]
        assert row["source_sha256"] == hashlib.sha256(source or b"").hexdigest()


def test_engines_agree_on_the_rows(table: Path) -> None:
    count = len(rows_of(table))
    url = str(table)
    assert open_table(url).to_pyarrow_dataset().count_rows() == count
    assert pl.read_delta(url).height == count
    assert len(pd.read_parquet(open_table(url).file_uris())) == count
    assert ray.data.read_delta(url).count() == count
    import datasets

    images = datasets.load_dataset("parquet", data_files=open_table(url).file_uris(), split="train")
    assert images.num_rows == count
    decoded = next(row["image"] for row in images if row["status"] != "failed")
    assert decoded.size[0] > 0


@pytest.mark.parametrize("topology", ["pooled", "colocated"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_no_topology_and_no_batch_size_changes_a_pixel(
    corpus: str, table: Path, tmp_path: Path, topology: str, batch_size: int
) -> None:
    settings = [f"stream.topology={topology}", f"stream.batch_size={batch_size}"]
    refine([corpus], str(tmp_path / "t"), load_config(None, settings))
    expected, found = rows_of(table), rows_of(tmp_path / "t")
    scores = [name for name in expected if name.startswith("quality_") and "map" not in name]
    for name in expected:
        if name in scores or name.startswith("piqe"):
            np.testing.assert_allclose(expected[name], found[name], atol=1e-5)
        elif name.startswith("quality_map"):
            for a, b in zip(expected[name], found[name], strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(np.stack(a), np.stack(b), atol=1e-5)
        elif name == "stages":
            assert [list(a) for a in expected[name]] == [list(b) for b in found[name]]
        else:
            pd.testing.assert_series_equal(expected[name], found[name])
