"""Samples become rows and rows become parts; a store that stays away ends the run and fails no row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
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
from qrefine.work.write import ROWS_AT_ONCE, Target, encoded, write
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


def test_rows_go_into_small_groups(tmp_path: Path, plain: RefineConfig) -> None:
    (record,) = write([kept("a", i) for i in range(2 * ROWS_AT_ONCE + 1)], target(tmp_path, plain))
    found = pq.read_metadata(tmp_path / record.path)
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 1]


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
