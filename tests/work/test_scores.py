"""Score first, store little: tables without images, and images found again in their shards."""

from __future__ import annotations

import gzip
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest
import torch

import qrefine
from qrefine.api import refine, score
from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError
from qrefine.report.page import ReportOptions, render_report
from qrefine.report.scan import TableScan
from qrefine.storage.store import Store
from qrefine.table import images as images_module
from qrefine.table.export.request import Format, Request
from qrefine.table.export.run import export
from qrefine.table.images import CHANGED, GONE, SourceError, Sources, image_bytes, open_image
from qrefine.table.table import Table, open_table
from tests.support import PLAIN, encoded, noisy, photo, write_tar

SETTINGS = [*PLAIN, "stream.executor=local", "stream.workers=1"]
SAMPLES = 5


def setting(*more: str) -> RefineConfig:
    return load_config(None, [*SETTINGS, *more])


@pytest.fixture(autouse=True)
def _threads_stay() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two archives, one of them compressed, with images that are refined, kept and broken."""
    folder = tmp_path_factory.mktemp("shards")
    for name in ("a.tar", "b.tar"):
        members = []
        for index in range(SAMPLES):
            image = photo(("astronaut", "coffee", "rocket")[index % 3], 96)
            data = encoded(noisy(image) if index % 2 else image)
            members += [(f"{index}.png", b"broken" if index == 4 else data), (f"{index}.txt", b"a prompt")]
        write_tar(folder / name, members)
    (folder / "c.tar.gz").write_bytes(gzip.compress((folder / "a.tar").read_bytes()))
    return folder


@pytest.fixture(scope="module")
def tables(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same corpus under each ``images.store``."""
    folder = tmp_path_factory.mktemp("tables")
    for store in ("all", "refined"):
        refine([str(shards)], str(folder / store), setting(f"images.store={store}"))
    score([str(shards)], str(folder / "none"), setting())
    return {name: folder / name for name in ("all", "refined", "none")}


def rows_of(table: Path) -> list[dict[str, Any]]:
    rows = pa.table(open_table(str(table)).to_pyarrow_table())
    return list(rows.sort_by([("shard", "ascending"), ("index", "ascending")]).to_pylist())


def stored(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int, str]]:
    return [(Path(row["shard"]).name, row["index"], row["status"]) for row in rows if row["image"] is not None]


def test_what_is_stored_is_what_no_range_of_a_shard_holds(tables: dict[str, Path]) -> None:
    rows = {name: rows_of(table) for name, table in tables.items()}
    expected = [row for row in rows["all"] if row["status"] != "failed"]
    assert {row["status"] for row in rows["all"]} == {"refined", "kept", "failed"}
    assert stored(rows["all"]) == stored(expected)
    kept_out = [row for row in expected if row["status"] == "refined" or row["shard"].endswith("gz")]
    assert stored(rows["refined"]) == stored(kept_out)
    assert stored(rows["none"]) == []
    scores = ["shard", "index", "quality_before", "width", "source_sha256", "image_offset", "image_size", "error"]
    for name in ("refined", "none"):
        assert [[row[c] for c in scores] for row in rows[name]] == [
            [row[c] for c in scores] for row in rows["all"]
        ]
    assert {row["status"] for row in rows["none"]} == {"kept", "failed"}
    assert all(row["piqe_before"] == row["piqe_after"] is not None for row in rows["none"] if row["width"])


def test_every_image_is_found_byte_for_byte(tables: dict[str, Path]) -> None:
    expected = rows_of(tables["all"])
    sources = Sources()
    for name in ("refined", "none"):
        for row, there in zip(rows_of(tables[name]), expected, strict=True):
            if row["status"] == "failed":
                with pytest.raises(SourceError, match="failed"):
                    image_bytes(row)
            elif row["status"] == there["status"]:
                assert image_bytes(row, sources=sources) == there["image"]["bytes"]
                assert open_image(row).size == (row["width"], row["height"])


def test_an_image_costs_one_request_of_its_own_bytes(
    tables: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = Store.read_range

    def counted(self: Store, start: int, end: int) -> bytes:
        data = read(self, start, end)
        asked.append(len(data))
        return data

    monkeypatch.setattr(Store, "read_range", counted)
    monkeypatch.setattr(images_module, "read_unit", lambda *_, **__: pytest.fail("the shard was read"))
    rows = [row for row in rows_of(tables["none"]) if row["image_offset"] is not None and row["status"] == "kept"]
    assert rows
    for row in rows:
        image_bytes(row)
    assert asked == [row["image_size"] for row in rows]


@pytest.mark.parametrize("format", ["webdataset", "parquet", "imagefolder"])
def test_an_export_of_refined_images_alone_is_that_of_all(
    tables: dict[str, Path], tmp_path: Path, format: Format
) -> None:
    found = {}
    for name in ("all", "refined"):
        table = Table.open(Store.at(str(tables[name])))
        export(table, Store.at(str(tmp_path / name)), Request(format))
        (run,) = {row["run"] for row in rows_of(tables[name])}
        (config,) = {row["config"] for row in rows_of(tables[name])}
        found[name] = {
            path.relative_to(tmp_path / name): path.read_bytes()
            .replace(run.encode(), b"RUN").replace(config.encode(), b"CONFIG")
            for path in sorted((tmp_path / name).rglob("*")) if path.is_file() and path.name != "manifest.json"
        }  # fmt: skip
    if format != "parquet":  # its pages are compressed: rows are compared instead
        assert found["all"] == found["refined"]
    else:
        import pyarrow.parquet as pq

        rows = [
            pq.read_table(next((tmp_path / name).glob("*.parquet"))).drop_columns(["run", "config"])
            for name in found
        ]
        assert rows[0].equals(rows[1])


def test_a_report_of_refined_images_alone_is_that_of_all(tables: dict[str, Path]) -> None:
    """All but the table's own place and size, the run, its seconds and the time of the report."""
    pages = []
    for name in ("all", "refined"):
        scan = TableScan(Store.at(str(tables[name])))
        (run,) = {row["run"] for row in rows_of(tables[name])}
        page = render_report(scan, setting(), ReportOptions(title="a table")).replace(run, "RUN")
        page = page.replace(str(tables[name]), "TABLE")
        pages.append(re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC|[\d.]+ (?:[kM]?B|min|images/s|s)\b", "_", page))
    assert pages[0].count("data:image") > 2 * SAMPLES
    assert pages[0] == pages[1]


@pytest.fixture
def moved(shards: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A score table and its shards, to be spoilt."""
    folder = tmp_path / "moved"
    shutil.copytree(shards, folder)
    score([str(folder)], str(tmp_path / "table"), setting("judges=[]"))
    return folder, tmp_path / "table"


@pytest.mark.parametrize("spoil", ["gone", "changed", "cut"])
def test_a_shard_that_is_gone_or_changed_is_noticed_and_costs_its_own_rows(
    moved: tuple[Path, Path], tmp_path: Path, spoil: str
) -> None:
    folder, table = moved
    for name in ("a.tar", "c.tar.gz"):
        path = folder / name
        data = path.read_bytes()
        path.unlink()
        if spoil == "changed":  # of the same size
            path.write_bytes(data[:600] + bytes(byte ^ 1 for byte in data[600:]))
        elif spoil == "cut":
            path.write_bytes(data[:700])
    manifest = export(Table.open(Store.at(str(table))), Store.at(str(tmp_path / "out")))
    assert manifest.samples == SAMPLES - 1
    lost = {f"{reason}: {folder / name}" for name in ("a.tar", "c.tar.gz") for reason in (CHANGED, GONE)}
    assert manifest.left_out.keys() <= lost
    assert sum(manifest.left_out.values()) == 2 * (SAMPLES - 1)


def test_a_second_run_of_the_same_command_has_nothing_to_do(shards: Path, tables: dict[str, Path]) -> None:
    before = rows_of(tables["none"])
    assert score([str(shards)], str(tables["none"]), setting()).samples == 0
    assert rows_of(tables["none"]) == before


def test_a_judge_that_throws_loses_nothing_and_is_told_once(shards: Path, tmp_path: Path) -> None:
    config = setting(f"judges=['{__name__}:sometimes']")
    summary = score([str(shards / "a.tar")], str(tmp_path / "t"), config)
    values = [row["sometimes_before"] for row in rows_of(tmp_path / "t")]
    assert summary.failed == 1  # the broken image
    assert 0 < sum(value is None for value in values[:-1]) < SAMPLES - 1
    (note,) = (note for note in summary.notes if "gave no score" in note)
    assert note == f"{sum(v is None for v in values[:-1])} x judge {__name__}:sometimes gave no score: ValueError"


def sometimes(image: np.ndarray) -> float:
    if image.std() > 60:
        raise ValueError("too wild")
    return 1e6


def test_what_would_lose_refined_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"images\.store: none"):
        setting("images.store=none")


def key_and_pixels(item: dict[str, Any]) -> tuple[str, Any]:
    """A transform that a worker process can be sent, however it is started."""
    return item["key"], np.asarray(item["image"])


@pytest.mark.parametrize("name", ["all", "refined", "none"])
def test_a_table_of_any_kind_is_a_dataset_for_torch(tables: dict[str, Path], name: str) -> None:
    dataset = qrefine.TableDataset(str(tables[name]), "quality_before < 2", transform=key_and_pixels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1)  # type: ignore[arg-type]
    expected = [row for row in rows_of(tables[name]) if row["status"] != "failed"]
    loaded = list(loader)
    assert [key for key, _ in loaded] == [row["key"] for row in expected]
    for (_, pixels), row in zip(loaded, expected, strict=True):
        with PIL.Image.open(io.BytesIO(image_bytes(row))) as image:
            assert np.array_equal(pixels, np.asarray(image))
    with pytest.raises(IndexError):
        dataset[len(dataset)]
