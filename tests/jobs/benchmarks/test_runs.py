"""What the benchmarks compare does the same work: the job, the bare loops, the peers."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from benchmarks.corpus import write_corpus
from benchmarks.runs import bare_processes, in_memory, sleeping, steady
from qrefine.config import RefineConfig
from qrefine.corpus.images import decode
from qrefine.corpus.shards import read_shard
from qrefine.stages.refiner import Refiner

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), shards=2, samples=4, side=96, needy=0.5)


def test_bare_loops_do_all_images(shards):
    config = sleeping(0.0)
    assert in_memory(shards, config) > 0
    assert bare_processes(shards, config, 2) > 0


def test_a_peer_says_what_the_refiner_says(shards, tmp_path):
    config = sleeping(0.0)
    out = str(tmp_path / "out")
    importlib.import_module("benchmarks.peers.loader").run(shards, out, config, 1)
    rows = {row["key"]: row for row in ds.dataset(out).to_table().to_pylist()}
    samples = [sample for shard in shards for sample in read_shard(shard, RefineConfig().images)]
    assert rows.keys() == {sample.key for sample in samples}
    refiner = Refiner(config)
    for sample in samples:
        result = refiner([decode(sample.source, config.images)])[0]
        assert rows[sample.key]["status"] == result.status
        assert rows[sample.key]["quality_after"] == pytest.approx(result.after.score)
        assert (rows[sample.key]["image"] == sample.source) == (result.status == "kept")
    assert {row["status"] for row in rows.values()} == {"refined", "kept"}


def test_a_steady_rate_knows_no_start_and_no_end(tmp_path):
    times = [1000, 1001, 1030, *range(1031, 1050), 1090]  # one actor is late, and one ends last
    for number, time in enumerate(times):
        path = tmp_path / f"{number}.parquet"
        path.touch()
        os.utime(path, (time, time))
    assert steady(tmp_path, lambda _: (4, 8), since=0.25) == pytest.approx([4, 8])


def test_an_unknown_benchmark_is_refused():
    done = subprocess.run([sys.executable, "jobs/bench.py", "speed"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'speed'" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_benchmark_runs_in_miniature(tmp_path):
    names = ["efficiency", "against", "scale", "savings", "scorer", "startup", "reading"]
    out = tmp_path / "bench.json"
    done = subprocess.run(
        [sys.executable, "jobs/bench.py", *names, "--tiny", "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    assert figures.keys() == set(names)
    assert all(figure["value"] > 0 for found in figures.values() for figure in found)
