"""Exports: every format holds the rows asked for, in order, and the loaders of others read them."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from qrefine.config import ImageSettings
from qrefine.corpus.shards import read_shard
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.table.export.files import write_parquet
from qrefine.table.export.output import MANIFEST, Output
from qrefine.table.export.request import Request
from qrefine.table.export.run import export
from qrefine.table.export.select import Choice
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
    manifest = export(table, Store.at(str(tmp_path / "out")), Request(samples=5))
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
        assert told["stages"] == " ".join(row["stages"])

    read = [sample for shard in shards for sample in read_shard(shard, ImageSettings())]
    assert [sample.source for sample in read] == [row["image"]["bytes"] for row in expected]
    assert [sample.prompt for sample in read] == [row["prompt"] for row in expected]
    # the second file has rows 7 to 11 of a.tar, then 0 and so on of b.tar: no key is there twice
    assert [sample.key for sample in read] == [row["key"] for row in expected]
    assert not any(sample.error for sample in read)


def test_keys_that_collide_in_a_file_are_told_apart(table: Table, tmp_path: Path) -> None:
    manifest = export(table, Store.at(str(tmp_path / "out")))
    read = list(read_shard(str(tmp_path / "out" / "000000.tar"), ImageSettings()))
    keys = [row["key"] for row in expected_rows(table)[:8]]
    assert [sample.key for sample in read] == [*keys, *(f"{key}-2" for key in keys)]
    assert manifest.renamed == 8
    assert any("8 names were taken" in note for note in manifest.notes)


def test_parquet_files_are_the_rows_themselves(table: Table, tmp_path: Path) -> None:
    table.delta.optimize.compact()  # another engine's parts say nothing of images
    manifest = export(Table.open(table.store), Store.at(str(tmp_path / "out")), Request("parquet", samples=10))
    files = [tmp_path / "out" / file.name for file in manifest.files]
    assert pa.concat_tables(pq.read_table(file) for file in files).to_pylist() == expected_rows(table)
    for file in map(pq.ParquetFile, files):
        features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        assert features["image"] == {"_type": "Image"}
        group = file.metadata.row_group(0)
        assert all(group.column(i).has_column_index or "image" in group.column(i).path_in_schema for i in range(3))
        assert all(group.column(i).has_offset_index for i in range(group.num_columns))


def test_pages_are_cut_by_content(tmp_path: Path) -> None:
    """Rows that are put in front move all bytes behind; almost all chunks of the file stay what they were."""
    rng = np.random.default_rng(0)
    rows_ = [{"image": {"bytes": rng.bytes(20_000), "path": None}, "prompt": str(i)} for i in range(300)]
    schema = pa.schema([("image", SCHEMA.field("image").type), ("prompt", pa.string())])
    out = Output(Store.at(str(tmp_path / "out")))
    for name, first in (("all", 0), ("fewer", 3)):
        write_parquet(out, name, [pa.Table.from_pylist(rows_[first:], schema=schema)])
    pages = [_pages(tmp_path / "out" / name) for name in ("all", "fewer")]
    assert len(pages[0] & pages[1]) >= len(pages[1]) - 3 > 4


def _pages(path: Path) -> set[str]:
    """Digests of the data pages of the images."""
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    data, found = path.read_bytes(), set()
    pieces = re.split(
        rb"(?=\x15\x00\x15)",
        data[column.data_page_offset : column.data_page_offset + column.total_compressed_size],
    )
    for piece in pieces:
        found.add(hashlib.sha256(piece[40:-40]).hexdigest())
    return found


def test_the_manifest_names_what_is_there(table: Table, tmp_path: Path) -> None:
    manifest = export(table, Store.at(str(tmp_path / "out")), Request(samples=6))
    told = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert (told["version"], told["samples"], told["candidates"]) == (6, 16, 16)
    for file in told["files"]:
        data = (tmp_path / "out" / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest.images == {"png": 16}


@pytest.mark.parametrize(
    "request_",
    [Request(samples=6), Request("parquet", samples=6), Request("imagefolder", samples=6), Request(images="jpg")],
)
def test_the_same_version_gives_the_same_bytes(table: Table, tmp_path: Path, request_: Request) -> None:
    first = export(table, Store.at(str(tmp_path / "1")), request_)
    table.delta.optimize.compact()  # a newer version of the same rows; the old one is exported again
    again = export(Table.open(table.store, first.version), Store.at(str(tmp_path / "2")), request_)
    assert again == first
    other = export(Table.open(table.store), Store.at(str(tmp_path / "3")), request_)
    assert other.version > first.version


def test_own_json_stays_and_other_text_is_kept(table: Table, tmp_path: Path) -> None:
    def own(texts: list[str | None], shard: str) -> list[dict[str, Any]]:
        some = rows([(i, "kept") for i in range(len(texts))], shard, len(texts))
        some = some.set_column(some.schema.get_field_index("metadata"), "metadata", [texts])
        table.commit([part(table.root, some)], run="r")
        request = Request(choice=Choice(where=f"shard = '{shard}'"))
        export(table, Store.at(str(tmp_path / shard)), request)
        with tarfile.open(tmp_path / shard / "000000.tar") as tar:
            found = [json.loads(tar.extractfile(m).read()) for m in tar if m.name.endswith("json")]  # type: ignore[union-attr]
        return [{name: value for name, value in sidecar.items() if name != "qrefine"} for sidecar in found]

    texts = ['{"caption": "x", "n": 1}', "[1]", "no json", None]
    assert own(texts, "y.tar") == [{"metadata": text or ""} for text in texts]
    alike = ['{"caption": "x", "n": 1}', '{"n": 2.5, "caption": "y"}']
    assert own(alike, "z.tar") == [{"caption": "x", "n": 1.0}, {"caption": "y", "n": 2.5}]


def test_what_cannot_be_is_said_in_one_line(table: Table, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="is not empty"):
        export(table, Store.at(str(tmp_path / "full")))
    with pytest.raises(UserError, match="versions 0 to 6"):
        Table.open(table.store, 7)
    empty = Table.open_or_create(Store.at(str(tmp_path / "empty")), SCHEMA)
    with pytest.raises(UserError, match="has no row that did not fail"):
        export(empty, Store.at(str(tmp_path / "out")))
