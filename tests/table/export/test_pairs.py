"""Pairs of before and after load where trainers read them, and say which is which."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
import webdataset

from qrefine.corpus.shards import read_shard
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.table.export.request import chosen
from qrefine.table.export.run import export
from qrefine.table.export.select import Choice
from qrefine.table.table import Table
from tests.support import encoded, photo
from tests.table.export.corpus import CONFIG, SIZE

datasets.disable_progress_bars()


def exported(table: Table, folder: Path, pairs: str, format_: str | None, images: str = "as-is") -> Any:
    request = chosen(format_, Choice(), images, "samples", True, pairs, 1000)
    manifest = export(table, Store.at(str(folder)), request, CONFIG)
    assert manifest.samples == manifest.selected == refined_rows(table).num_rows
    return datasets.load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"))


def refined_rows(table: Table) -> Any:
    import pyarrow.compute as pc

    return table.delta.to_pyarrow_table().filter(pc.field("status") == "refined")


def array(image: Any) -> Any:
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("format_", ["webdataset", "parquet"])
def test_restoration_pairs_hold_source_result_and_what_changed(mixed: Table, tmp_path: Path, format_: str) -> None:
    loaded = exported(mixed, tmp_path / "out", "restoration", format_)
    rows = {(row["shard"], row["index"]): row for row in refined_rows(mixed).to_pylist()}
    suffix = ".png" if format_ == "webdataset" else ""
    for pair in loaded:
        told = pair["json"]["qrefine"] if format_ == "webdataset" else pair
        row = rows[told["shard"], told["index"]]
        before, after, mask = (pair[f"{name}{suffix}"] for name in ("before", "after", "mask"))
        (source,) = read_shard(row["shard"], CONFIG.images, wanted=lambda index: index == row["index"])  # noqa: B023
        assert source.source is not None
        assert np.array_equal(array(before), array(PIL.Image.open(io.BytesIO(source.source))))
        assert np.array_equal(array(after), array(PIL.Image.open(io.BytesIO(row["image"]["bytes"]))))
        changed = (array(before) != array(after)).any(axis=-1)
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask) == 255, changed)
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
        assert 0 < changed.mean() < 1
        assert pair["txt" if format_ == "webdataset" else "prompt"] == (row["prompt"] or "")


def test_webdataset_reads_restoration_pairs(mixed: Table, tmp_path: Path) -> None:
    exported(mixed, tmp_path / "out", "restoration", "webdataset", "jpg")
    loader = webdataset.WebDataset(str(tmp_path / "out" / "000000.tar"), shardshuffle=False).decode("torchrgb")
    for sample in loader:
        shapes = {name: sample[name].shape for name in ("before.jpg", "after.jpg", "mask.png")}
        assert set(shapes.values()) == {(3, SIZE, SIZE)}


def test_preference_pairs_load_as_the_dpo_example_reads_them(mixed: Table, tmp_path: Path) -> None:
    """Its steps: bytes to RGB tensors, the preferred image first by ``label_0``, both along the channels."""
    loaded = exported(mixed, tmp_path / "out", "preference", None)
    assert {"jpg_0", "jpg_1", "label_0", "caption"} <= set(loaded.column_names)
    refined = {(r["shard"], r["index"]): r["image"]["bytes"] for r in refined_rows(mixed).to_pylist()}

    def preprocess(examples: dict[str, list[Any]]) -> dict[str, list[Any]]:
        both = []
        for first, second, label in zip(examples["jpg_0"], examples["jpg_1"], examples["label_0"], strict=True):
            images = [array(PIL.Image.open(io.BytesIO(data))) for data in (first, second)]
            ordered = images[::-1] if label == 0 else images
            both.append(torch.cat([torch.as_tensor(image).permute(2, 0, 1) / 255 for image in ordered]))
        places = list(zip(examples["shard"], examples["index"], strict=True))
        return {"pixel_values": both, "caption": examples["caption"], "place": places}

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        pixels = torch.stack([example["pixel_values"] for example in examples]).float()
        return {
            "pixels": pixels,
            "places": [e["place"] for e in examples],
            "texts": [e["caption"] for e in examples],
        }

    loader = torch.utils.data.DataLoader(
        loaded.with_transform(preprocess), batch_size=2, collate_fn=collate, shuffle=False
    )
    seen = 0
    for batch in loader:
        assert batch["pixels"].shape[1:] == (6, SIZE, SIZE)
        for pixels, place, text in zip(batch["pixels"], batch["places"], batch["texts"], strict=True):
            chosen_image = array(PIL.Image.open(io.BytesIO(refined[place])))
            assert np.array_equal((pixels[:3] * 255).round().permute(1, 2, 0).int().numpy(), chosen_image)
            assert not torch.equal(pixels[:3], pixels[3:])
            assert isinstance(text, str)
            seen += 1
    assert seen == len(refined)
    heads = {bytes(row[name][:4]) for row in loaded for name in ("jpg_0", "jpg_1")}
    assert heads == {b"\x89PNG"}  # one format for both: it must not tell which is the better one


def test_a_table_without_refined_rows_says_so(tmp_path: Path) -> None:
    from qrefine.api import refine
    from qrefine.config import load_config
    from tests.support import PLAIN, write_tar

    write_tar(tmp_path / "a.tar", [("a.png", encoded(photo(size=64)))])
    config = load_config(None, [*PLAIN, "stream.executor=local", "bounds.mq=0", "bounds.lq=0", "bounds.hq=0"])
    refine([str(tmp_path / "a.tar")], str(tmp_path / "table"), config)
    with pytest.raises(UserError, match="has no refined row"):
        table = Table.open(Store.at(str(tmp_path / "table")))
        request = chosen(None, Choice(), "as-is", "samples", True, "preference", 10)
        export(table, Store.at(str(tmp_path / "out")), request, CONFIG)


def test_the_manifest_tells_the_kind(mixed: Table, tmp_path: Path) -> None:
    exported(mixed, tmp_path / "out", "preference", None, "jpg")
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert told["options"] == {"format": "parquet", "pairs": "preference", "images": "jpg"}
    assert told["images"] == {"jpg": 2 * told["samples"]}
