"""Exports: every format holds the rows asked for, in order, and the loaders of others read them."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from qrefine.config import ImageSettings
from qrefine.corpus.shards import read_shard
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.table.export import MANIFEST, export
from qrefine.table.table import Table
from tests.table.parts import SCHEMA, part, rows

CYCLE = ("kept", "refined", "failed")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Two shards with 12 samples each, in parts that came in any order; every third sample failed."""
    table = Table.open_or_create(Store.at(str(tmp_path / "table")), SCHEMA)
    for shard in ("b.tar", "a.tar"):
        for start in (8, 0, 4):
            specs = [(i, CYCLE[i % 3]) for i in range(start, start + 4)]
            table.commit([part(table.root, rows(specs, shard, 12 if start == 8 else None))], run="r")
    return table


def expected_rows(table: Table) -> list[dict[str, Any]]:
    found = table.delta.to_pyarrow_table().to_pylist()
    kept = [row for row in found if row["status"] != "failed"]
    return sorted(kept, key=lambda row: (row["shard"], row["index"]))


def test_exported_shards_are_read_by_webdataset_and_by_us(table: Table, tmp_path: Path) -> None:
    manifest = export(table, Store.at(str(tmp_path / "out")), samples=5)
    assert [file.samples for file in manifest.files] == [5, 5, 5, 1]
    shards = [str(tmp_path / "out" / file.name) for file in manifest.files]
    expected = expected_rows(table)

    loaded = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert [sample["txt"] for sample in loaded] == [row["prompt"] for row in expected]
    assert [sample["png"].size for sample in loaded] == [(24, 24)] * 16
    for sample, row in zip(loaded, expected, strict=True):
        told = sample["json"]["qrefine"]
        assert (told["shard"], told["index"], told["key"]) == (row["shard"], row["index"], row["key"])
        assert told["quality_after"] == pytest.approx(row["quality_after"])

    read = [sample for shard in shards for sample in read_shard(shard, ImageSettings())]
    assert [sample.source for sample in read] == [row["image"]["bytes"] for row in expected]
    assert [sample.prompt for sample in read] == [row["prompt"] for row in expected]
    assert [sample.key for sample in read] == [f"{i:09d}" for i in range(16)]
    assert not any(sample.error for sample in read)


def test_parquet_files_are_the_rows_themselves(table: Table, tmp_path: Path) -> None:
    import datasets

    manifest = export(table, Store.at(str(tmp_path / "out")), "parquet", samples=10)
    files = [tmp_path / "out" / file.name for file in manifest.files]
    assert pa.concat_tables(pq.read_table(file) for file in files).to_pylist() == expected_rows(table)
    loaded = datasets.Dataset.from_parquet([str(file) for file in files], cache_dir=str(tmp_path / "cache"))
    assert loaded[3]["image"].size == (24, 24)


def test_an_image_folder_loads_with_its_metadata(table: Table, tmp_path: Path) -> None:
    import datasets

    export(table, Store.at(str(tmp_path / "out")), "imagefolder", samples=10)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    expected = expected_rows(table)
    assert sorted((row["shard"], row["index"], row["text"]) for row in loaded) == [
        (row["shard"], row["index"], row["prompt"]) for row in expected
    ]
    assert loaded[0]["image"].size == (24, 24)
    for line in (tmp_path / "out" / "000000" / "metadata.jsonl").read_text().splitlines():
        told = json.loads(line)
        data = (tmp_path / "out" / "000000" / told["file_name"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == told["sha256"]


def test_a_condition_selects_rows_and_the_manifest_says_all(table: Table, tmp_path: Path) -> None:
    where = "quality_after > 0.7 and shard = 'b.tar'"
    manifest = export(table, Store.at(str(tmp_path / "out")), where=where)
    told = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert (told["version"], told["where"], told["samples"]) == (6, where, 4)
    (file,) = told["files"]
    data = (tmp_path / "out" / file["name"]).read_bytes()
    assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest.samples == 4
    nothing = export(table, Store.at(str(tmp_path / "none")), where="quality_after > 2")
    assert (nothing.samples, nothing.files) == (0, ())


@pytest.mark.parametrize("format", ["webdataset", "parquet", "imagefolder"])
def test_the_same_version_gives_the_same_bytes(table: Table, tmp_path: Path, format: str) -> None:
    first = export(table, Store.at(str(tmp_path / "1")), format, samples=6)
    table.delta.optimize.compact()  # a newer version of the same rows; the old one is exported again
    again = export(Table.open(table.store, first.version), Store.at(str(tmp_path / "2")), format, samples=6)
    assert again == first


def test_own_json_stays_and_other_text_is_kept(table: Table, tmp_path: Path) -> None:
    texts = ['{"caption": "x", "n": 1}', "[1]", "no json", None]
    some = rows([(i, "kept") for i in range(4)], "z.tar", 4)
    some = some.set_column(some.schema.get_field_index("metadata"), "metadata", [texts])
    table.commit([part(table.root, some)], run="r")
    export(table, Store.at(str(tmp_path / "out")), where="shard = 'z.tar'")
    with tarfile.open(tmp_path / "out" / "000000.tar") as tar:
        found = [json.loads(tar.extractfile(m).read()) for m in tar if m.name.endswith("json")]  # type: ignore[union-attr]
    own = [{name: value for name, value in sidecar.items() if name != "qrefine"} for sidecar in found]
    assert own == [{"caption": "x", "n": 1}, {"metadata": [1]}, {"metadata": "no json"}, {}]


def test_what_cannot_be_is_said_in_one_line(table: Table, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for output, format, where, reason in (
        ("full", "webdataset", None, "is not empty"),
        ("out", "zip", None, "unknown format 'zip'"),
        ("out", "webdataset", "image is null", "there is no column"),
    ):
        with pytest.raises(UserError, match=reason):
            export(table, Store.at(str(tmp_path / output)), format, where)
    with pytest.raises(UserError, match="versions 0 to 6"):
        Table.open(table.store, 7)
