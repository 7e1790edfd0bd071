"""Loaders of others read the exports of a mixed table: every sample is there, decoded, and nothing is None."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
import webdataset

from qrefine.storage.store import Store
from qrefine.table.export.request import Request
from qrefine.table.export.run import export
from qrefine.table.table import Table
from tests.table.export.corpus import CONFIG, SIZE

datasets.disable_progress_bars()
ROWS = 24  # of 25 samples one is broken


def exported(table: Table, folder: Path, **options: Any) -> Path:
    manifest = export(table, Store.at(str(folder)), Request(samples=10, **options), CONFIG)
    assert manifest.samples == ROWS
    return folder


def load(folder: Path, *arguments: str, **options: Any) -> Any:
    place = {"path": str(folder)} if not arguments else {"path": arguments[0]}
    return datasets.load_dataset(**place, **options, split="train", cache_dir=str(folder.parent / "cache"))


def nones(value: Any, path: str = "") -> Iterator[str]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from nones(inner, f"{path}.{name}")


def rows_of(table: Table) -> list[dict[str, Any]]:
    found = table.delta.to_pyarrow_table().to_pylist()
    return sorted((r for r in found if r["status"] != "failed"), key=lambda row: (row["shard"], row["index"]))


@pytest.mark.parametrize("images", ["as-is", "png", "jpg", "webp"])
def test_datasets_reads_webdataset(mixed: Table, tmp_path: Path, images: str) -> None:
    folder = exported(mixed, tmp_path / "out", images=images)
    loaded = load(folder, "webdataset", data_files=str(folder / "*.tar"))
    suffix = "png" if images == "as-is" else images
    assert {suffix, "txt", "json"} <= set(loaded.column_names)
    found = sorted(loaded, key=lambda row: (row["json"]["qrefine"]["shard"], row["json"]["qrefine"]["index"]))
    assert not [path for row in found for path in nones(row)]
    for row, expected in zip(found, rows_of(mixed), strict=True):
        assert row[suffix].size == (SIZE, SIZE)
        assert row["txt"] == (expected["prompt"] or "")
        assert row["json"]["style"] == "photo"
        assert json.loads(row["json"]["metadata"]) == json.loads(expected["metadata"])
        assert row["json"]["n"] == json.loads(expected["metadata"])["n"]


def test_webdataset_reads_webdataset(mixed: Table, tmp_path: Path) -> None:
    folder = exported(mixed, tmp_path / "out")
    shards = sorted(map(str, folder.glob("*.tar")))
    found = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert len(found) == ROWS
    assert len({frozenset(sample) for sample in found}) == 1
    assert not [path for sample in found for path in nones(sample)]
    assert all(isinstance(sample["png"], PIL.Image.Image) for sample in found)
    keys = [[s["__key__"] for s in found if s["__url__"] == shard] for shard in shards]
    assert [len(set(some)) for some in keys] == [10, 10, 4]
    assert keys[0] == [f"d/k{i:02d}" for i in range(10)]
    assert keys[1][:4] == ["d/k10", "d/k11", "d/k00", "d/k01"]


def test_images_that_agree_keep_their_bytes(mixed: Table, tmp_path: Path) -> None:
    folder = exported(mixed, tmp_path / "out")
    images = {(row["shard"], row["index"]): row["image"]["bytes"] for row in rows_of(mixed)}
    same = 0
    for shard in sorted(folder.glob("*.tar")):
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
            told = json.loads(sample["json"])["qrefine"]
            image = images[told["shard"], told["index"]]
            is_png = image.startswith(b"\x89PNG")
            same += is_png
            assert (sample["png"] == image) == is_png
            assert np.array_equal(pixels(sample["png"]), pixels(image))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["converted"] == {"jpg to png": ROWS - same}
    assert 0 < same < ROWS
    assert any("several formats" in note for note in manifest["notes"])


def pixels(image: bytes) -> Any:
    return np.asarray(PIL.Image.open(io.BytesIO(image)).convert("RGB"))


@pytest.mark.parametrize("named", [False, True])
def test_datasets_reads_an_image_folder(mixed: Table, tmp_path: Path, named: bool) -> None:
    folder = exported(mixed, tmp_path / "out", format="imagefolder")
    loaded = load(folder, "imagefolder", data_dir=str(folder)) if named else load(folder)
    assert len(loaded) == ROWS
    assert not [path for row in loaded for path in nones(row)]
    found = sorted(loaded, key=lambda row: (row["shard"], row["index"]))
    for row, expected in zip(found, rows_of(mixed), strict=True):
        assert row["text"] == (expected["prompt"] or "")
        assert np.array_equal(np.asarray(row["image"].convert("RGB")), pixels(expected["image"]["bytes"]))
    for text in folder.glob("*/*.txt"):
        (image,) = (path for path in text.parent.glob(f"{text.stem}.*") if path.suffix != ".txt")
        assert image.suffix in (".png", ".jpg")


@pytest.mark.parametrize("images", ["as-is", "jpg"])
def test_datasets_reads_parquet(mixed: Table, tmp_path: Path, images: str) -> None:
    folder = exported(mixed, tmp_path / "out", format="parquet", images=images)
    loaded = load(folder)
    assert isinstance(loaded.features["image"], datasets.Image)
    for row, expected in zip(loaded, rows_of(mixed), strict=True):
        assert row["prompt"] == (expected["prompt"] or "")
        assert row["image"].size == (SIZE, SIZE)
        assert row["image"].format == ("JPEG" if images == "jpg" else row["image"].format)
        assert row["quality_map_after"] == expected["quality_map_after"]


def test_the_card_leads_load_dataset_to_the_files(mixed: Table, tmp_path: Path) -> None:
    folder = exported(mixed, tmp_path / "out")
    loaded = load(folder)
    assert len(loaded) == ROWS
    text = (folder / "README.md").read_text()
    assert "![Before and after](.card/before-after.jpg)" in text
    with PIL.Image.open(folder / ".card" / "before-after.jpg") as picture:
        assert picture.height == 2 * SIZE + 4


def test_a_plain_loader_batches_all_of_them(mixed: Table, tmp_path: Path) -> None:
    folder = exported(mixed, tmp_path / "out")
    shards = sorted(map(str, folder.glob("*.tar")))
    plain = webdataset.WebDataset(shards, shardshuffle=False).decode("torchrgb").to_tuple("png", "txt", "json")
    batches = list(torch.utils.data.DataLoader(plain, batch_size=4))
    assert sum(len(texts) for _, texts, _ in batches) == ROWS
    assert all(images.shape[1:] == (3, SIZE, SIZE) for images, _, _ in batches)


def test_all_members_of_a_tar_are_small_regular_files_inside(mixed: Table, tmp_path: Path) -> None:
    folder = exported(mixed, tmp_path / "out")
    for shard in folder.glob("*.tar"):
        with tarfile.open(shard) as tar:
            for member in tar:
                assert member.isreg()
                assert not member.name.startswith("/")
