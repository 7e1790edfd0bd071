"""The main job on real Ray and real Delta tables, with small shards."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import ray

from qrefine.api import refine
from qrefine.config import RefineConfig, load_config
from qrefine.corpus.images import decode
from qrefine.errors import UserError
from qrefine.table.table import open_table
from qrefine.work.refine import Summary
from tests.stream.backends import KILLER, THROWER
from tests.support import PLAIN, encoded, photo, write_shards, write_tar

pytestmark = pytest.mark.usefixtures("cluster")


def rows_of(table: Path) -> list[dict]:
    rows = open_table(str(table)).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row["shard"], row["index"]))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, shards=3, samples=6)
    return folder


@pytest.fixture(scope="module")
def done(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    table = tmp_path_factory.mktemp("out") / "table"
    return table, refine([str(shards)], str(table), load_config(None, PLAIN))


def test_every_sample_is_one_row(done: tuple[Path, Summary]) -> None:
    table, summary = done
    rows = rows_of(table)
    assert len({(row["shard"], row["index"]) for row in rows}) == len(rows) == 18 == summary.samples
    assert summary.refined + summary.kept == 18
    assert summary.refined > 0
    assert [row["shard_rows"] for row in rows] == ([None] * 5 + [6]) * 3
    assert summary.exit_code == 0


def test_kept_rows_carry_the_source_and_refined_rows_decode(done: tuple[Path, Summary], shards: Path) -> None:
    sources = {}
    for path in shards.glob("*.tar"):
        with tarfile.open(path) as tar:
            sources |= {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    for row in rows_of(done[0]):
        source = sources[f"{row['key']}.png"]
        assert row["source_sha256"] == hashlib.sha256(source).hexdigest()
        assert row["prompt"] == f"prompt {row['key']}"
        image = decode(row["image"]["bytes"], RefineConfig().images)
        assert image.shape == (row["height"], row["width"], 3)
        if row["status"] == "kept":
            assert row["image"]["bytes"] == source
            assert row["quality_after"] == row["quality_before"]
        else:
            assert row["quality_after"] > row["quality_before"]
            assert row["stages"]
            assert row["piqe_before"] is not None
            np.testing.assert_allclose(np.mean(row["quality_map_after"]), row["quality_after"], atol=1e-6)


def test_other_engines_read_the_table(done: tuple[Path, Summary]) -> None:
    url = str(done[0])
    assert pl.read_delta(url).height == 18
    assert len(pd.read_parquet(open_table(url).file_uris(), columns=["key", "status"])) == 18
    assert ray.data.read_delta(url).count() == 18
    import datasets

    images = datasets.load_dataset("parquet", data_files=open_table(url).file_uris(), split="train")
    assert images[0]["image"].size == (96, 96)


def test_a_finished_job_has_nothing_to_do(done: tuple[Path, Summary], shards: Path) -> None:
    version = open_table(str(done[0])).version()
    summary = refine([str(shards)], str(done[0]), load_config(None, PLAIN))
    assert summary.samples == 0
    assert summary.shards_done_before == summary.shards == 3
    assert open_table(str(done[0])).version() == version


def check_same(expected: Path, found: Path) -> None:
    """The same rows but for the run, and the same pixels; scores as nearly as sums of floats allow."""
    ours, others = rows_of(expected), rows_of(found)
    assert len(ours) == len(others)
    for a, b in zip(ours, others, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"run"}:
            if a[name] is not None and b[name] is not None and name.startswith(("quality", "piqe")):
                np.testing.assert_allclose(a[name], b[name], atol=1e-5)
            else:
                assert a[name] == b[name], name
        if a["image"] is not None:
            images = [decode(row["image"]["bytes"], RefineConfig().images) for row in (a, b)]
            np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(
    "settings",
    [
        ("stream.topology=pooled", "stream.batch_size=1"),
        ("stream.topology=colocated", "stream.batch_size=16"),
        ("stream.topology=pooled", "stream.batch_size=16", "stream.part_rows=2", "stream.block_mb=0.02"),
        ("stream.executor=local", "stream.workers=1"),
        ("stream.executor=local", "stream.workers=3", "stream.batch_size=4"),
    ],
)
def test_executors_topologies_and_batches_change_nothing(
    done: tuple[Path, Summary], shards: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    table = tmp_path / "table"
    summary = refine([str(shards)], str(table), load_config(None, PLAIN + settings))
    check_same(done[0], table)
    here = "stream.executor=local" in settings
    assert (summary.samples, summary.refined) == (18, done[1].refined)
    assert summary.cpus == (float(settings[1][-1]) if here else 2.0)


def grey(value: int) -> bytes:
    image = photo(size=64)
    image[0, 0] = value
    return encoded(image)


def test_a_sample_that_kills_its_actor_is_one_failed_row(tmp_path: Path) -> None:
    members = [(f"{i:03d}.png", grey(i)) for i in range(12)]
    members[5] = ("005.png", grey(KILLER))
    members[9] = ("009.png", grey(THROWER))
    write_tar(tmp_path / "a.tar", members)
    config = load_config(None, [*PLAIN, "mapper.name=tests.stream.backends:DangerousMapper", "stream.retries=1"])
    summary = refine([str(tmp_path / "a.tar")], str(tmp_path / "table"), config)
    rows = rows_of(tmp_path / "table")
    assert [row["index"] for row in rows if row["status"] == "failed"] == [5, 9]
    assert rows[5]["error"] == "killed its process in each of 2 passes"
    assert rows[9]["error"] == "RuntimeError in map: this image cannot be mapped"
    assert [row["index"] for row in rows] == list(range(12))
    assert summary.retried_rows > 0

    safe = load_config(None, PLAIN)
    again = refine([str(tmp_path / "a.tar")], str(tmp_path / "table"), safe, retry_failed=True)
    assert again.samples == 2
    rows = rows_of(tmp_path / "table")
    assert [row["index"] for row in rows] == list(range(12))
    assert not any(row["status"] == "failed" for row in rows)
    assert rows[11]["shard_rows"] == 12


def test_bad_shards_are_failed_rows_and_harm_no_other(tmp_path: Path) -> None:
    good = write_shards(tmp_path, shards=1, samples=3)[0]
    (tmp_path / "empty.tar").write_bytes(b"")
    (tmp_path / "half.tar").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "text.tar").write_text("no tar at all\n" * 1000)
    write_tar(tmp_path / "broken.tar", [(f"{i}.png", b"garbage") for i in range(3)])
    config = load_config(None, PLAIN)
    summary = refine([str(tmp_path)], str(tmp_path / "table"), config)
    by_shard: dict[str, list[dict]] = {}
    for row in rows_of(tmp_path / "table"):
        by_shard.setdefault(Path(row["shard"]).name, []).append(row)
    assert [row["status"] for row in by_shard["broken.tar"]] == ["failed"] * 3
    assert all(row["error"].startswith("not an image") for row in by_shard["broken.tar"])
    for name in ("empty.tar", "text.tar"):
        (row,) = by_shard[name]
        assert (row["key"], row["status"], row["shard_rows"], row["image"]) == ("", "failed", 1, None)
        assert row["error"].startswith("shard unreadable")
    assert [row["status"] == "failed" for row in by_shard["half.tar"]] == [False, True]
    assert "at byte" in by_shard["half.tar"][-1]["error"]
    assert len(by_shard["000000.tar"]) == 3
    assert summary.failed_shards == 3
    assert summary.exit_code == 3


def test_what_a_person_must_mend_is_said_before_ray_works(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing matches"):
        refine([str(tmp_path / "*.tar")], str(tmp_path / "table"), load_config(None, PLAIN))
    write_shards(tmp_path, shards=1, samples=1)
    with pytest.raises(UserError, match="unknown mapper 'nope'"):
        refine([str(tmp_path)], str(tmp_path / "table"), load_config(None, [*PLAIN, "mapper.name=nope"]))
    assert not (tmp_path / "table").exists()
