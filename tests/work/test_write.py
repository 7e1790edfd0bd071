"""Samples become rows and rows become parts; a store that stays away ends the run and fails no row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import ImageCms

from qrefine.config import RefineConfig
from qrefine.corpus.images import decode
from qrefine.corpus.metadata import read_metadata
from qrefine.errors import UserError
from qrefine.sample import Sample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.storage import retry
from qrefine.storage.store import Store
from qrefine.table.schema import table_schema
from qrefine.table.table import open_table
from qrefine.work.process import process
from qrefine.work.write import ROWS_AT_ONCE, Target, Writer, encoded, write
from tests import support
from tests.stages.backends import quality
from tests.support import noisy, photo
from tests.work import runs
from tests.work.kill_points import SAMPLES, SHARDS, read, write_corpus

IMAGE = photo(size=24)
SOURCE = support.encoded(IMAGE)


def kept(shard: str, index: int, **more: Any) -> Sample:
    values = {"size": (24, 24), "before": quality([[0.5, 0.75], [0.25, 0.5]]), **more}
    return Sample(shard, index, f"{shard}/{index}", SOURCE, 1, **values)


def target(root: Path, config: RefineConfig) -> Target:
    return Target(config, Store.at(str(root)), "run-1")


def test_refined_pixels_are_encoded_losslessly_and_others_not_at_all(plain: RefineConfig) -> None:
    new = noisy(IMAGE)
    done = encoded(kept("a", 0).changed(new, "inpaint"), plain)
    assert np.array_equal(decode(done.output or b"", plain.images), new)
    for sample in (kept("a", 0), kept("a", 0).changed(new, "inpaint").failed("boom")):
        assert encoded(sample, plain) is sample


def test_an_encoders_error_is_the_samples(plain: RefineConfig) -> None:
    webp = plain.model_copy(update={"images": plain.images.model_copy(update={"format": "webp"})})
    too_wide = np.zeros((1, 16384, 3), dtype=np.uint8)  # WebP ends at 16383
    done = encoded(kept("a", 0).changed(too_wide, "inpaint"), webp)
    assert done.status == "failed"
    assert (done.error or "").startswith("encode: ")
    assert done.output is None


def test_the_colour_profile_of_the_source_stays(plain: RefineConfig) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sample = Sample("s", 0, "k0", support.encoded(noisy(photo()), icc_profile=profile), 1)
    (done,) = process([sample], build_stages(MODEL_STAGES, plain), plain)
    assert done.status == "refined"
    output = encoded(done, plain).output or b""
    assert read_metadata(output).icc == profile
    assert np.array_equal(decode(output, plain.images), done.pixels)


def test_there_is_one_part_for_each_shard_with_its_rows_in_order(tmp_path: Path, plain: RefineConfig) -> None:
    samples = [
        kept("b", 1),
        kept("a", 2),
        kept("b", 0, shard_rows=2),
        kept("a", 0),
        kept("a", 1).failed("boom: x"),
    ]
    first, second = write(samples, target(tmp_path, plain))
    assert (first.shard, first.rows, first.shard_rows) == ("a", ((0, 3),), None)
    assert (second.shard, second.rows, second.shard_rows) == ("b", ((0, 2),), 2)
    assert (first.statuses, first.errors) == ({"kept": 2, "failed": 1}, {"boom": 1})
    rows = pq.read_table(tmp_path / first.path)
    assert rows.schema == table_schema(plain.judges)
    assert rows["index"].to_pylist() == [0, 1, 2]
    assert set(rows["run"].to_pylist()) == {"run-1"}
    assert write([], target(tmp_path, plain)) == []


def test_a_record_counts_source_bytes_and_images_beyond_one(tmp_path: Path, plain: RefineConfig) -> None:
    samples = [
        replace(kept("a", 0), image_count=3),
        replace(kept("a", 1), image_count=1),
        Sample("a", 2, "k", None, 0, error="no image member"),
    ]
    (record,) = write(samples, target(tmp_path, plain))
    assert (record.extra_images, record.source_bytes) == (2, 2 * len(SOURCE))


def test_a_refined_row_holds_its_pixels(tmp_path: Path, plain: RefineConfig) -> None:
    new = noisy(IMAGE)
    done = replace(kept("a", 0).changed(new, "inpaint"), after=quality([[0.9, 0.9], [0.9, 0.9]]))
    (record,) = write([done, kept("a", 1)], target(tmp_path, plain))
    rows = pq.read_table(tmp_path / record.path).to_pylist()
    assert [row["status"] for row in rows] == ["refined", "kept"]
    assert np.array_equal(decode(rows[0]["image"]["bytes"], plain.images), new)
    assert rows[1]["image"]["bytes"] == SOURCE


def test_rows_go_into_groups_that_fit_in_memory(
    tmp_path: Path, plain: RefineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrefine.table.parts.GROUP_ROWS", 2 * ROWS_AT_ONCE)
    (record,) = write([kept("a", i) for i in range(5 * ROWS_AT_ONCE + 1)], target(tmp_path, plain))
    found = pq.read_metadata(tmp_path / record.path)
    groups = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
    assert groups == [2 * ROWS_AT_ONCE, 2 * ROWS_AT_ONCE, ROWS_AT_ONCE + 1]


def gathering(config: RefineConfig, **stream: float) -> RefineConfig:
    return config.model_copy(update={"stream": config.stream.model_copy(update=stream)})


def batches(writer: Writer, shard: str, count: int) -> list[list[tuple[tuple[int, int], ...]]]:
    """Rows of the parts that each of so many batches of two closes."""
    return [[r.rows for r in writer.add([kept(shard, 2 * i), kept(shard, 2 * i + 1)])] for i in range(count)]


def test_a_part_is_gathered_until_it_is_full_or_another_shard_begins(tmp_path: Path, plain: RefineConfig) -> None:
    config = gathering(plain, part_rows=6, commit_seconds=3600)
    writer = Writer(target(tmp_path, config))
    assert batches(writer, "a", 4) == [[], [], [((0, 6),)], []]
    assert batches(writer, "b", 1) == [[((6, 8),)]]
    assert [record.rows for record in writer.close()] == [((0, 2),)]
    assert writer.close() == []


def test_a_part_is_closed_when_it_has_bytes_enough(
    tmp_path: Path, plain: RefineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qrefine.work.write.PART_BYTES", 3 * len(SOURCE))
    writer = Writer(target(tmp_path, gathering(plain, commit_seconds=3600)))
    assert batches(writer, "a", 4) == [[], [((0, 4),)], [], [((4, 8),)]]


def test_parts_are_gathered_for_a_share_of_the_time(
    tmp_path: Path, plain: RefineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a second for each batch: one second after 20, two after 40, never more than ``part_seconds``."""
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("qrefine.work.write.time", clock)
    writer = Writer(target(tmp_path, gathering(plain, commit_seconds=0.5, part_seconds=3)))
    sizes = []
    for number in range(200):
        clock.now += 1
        sizes += [(number, r.rows[0][1] - r.rows[0][0]) for r in writer.add([kept("a", number)])]
    assert sizes[0][1] == 2
    assert {size for number, size in sizes if number > 80} == {4}  # three seconds after the first of them
    assert len(sizes) < 200 / 3 + 12


def test_a_store_that_cannot_be_written_to_is_a_users_error(tmp_path: Path, plain: RefineConfig) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot use .*file"):
        write([kept("a", 0)], target(tmp_path / "file", plain))


def stay_away() -> None:
    def fail(*_: Any) -> None:
        raise OSError("connection reset")

    retry.FIRST_WAIT_S = 0.0
    Store.upload = lambda self, name, file: retry.retrying(fail, name)  # type: ignore[method-assign]


def test_a_store_that_stays_away_ends_the_run_and_fails_no_row(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    arguments = [str(tmp_path / "corpus"), str(tmp_path / "table")]
    assert runs.finish(arguments, stay_away, said=tmp_path / "said") == 1
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert last.startswith(f"qrefine: {tmp_path}/table cannot be reached any more: connection reset;")
    assert open_table(arguments[1]).to_pyarrow_table().num_rows == 0
    assert runs.finish(arguments) == 0
    assert len(read(tmp_path / "table")[0]) == SHARDS * SAMPLES
