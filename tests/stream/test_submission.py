"""Jobs as operators submit them: ``ray job submit`` to a head in token mode; log, stop, second start.

``QREFINE_CORPUS`` names a folder of shards for the stop in mid-run, done there with the shipped settings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.shards import read_shard
from qrefine.table.table import open_table
from tests.stream.heads import ROOT, Head, running_head
from tests.support import PLAIN, write_shards, write_tar

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SETTINGS = [flag for setting in (*PLAIN, "stream.commit_seconds=0.5") for flag in ("--set", setting)]
SLOW = ["--set", "mapper.name=tests.stream.backends:SlowMapper", "--set", "stream.batch_size=2"]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head() as head:
        yield head


def rows_of(table: Path) -> list[dict]:
    return open_table(str(table)).to_pyarrow_table(columns=["shard", "index", "status"]).to_pylist()


def places(table: Path) -> list[tuple[str, int]]:
    return sorted((row["shard"], row["index"]) for row in rows_of(table))


def own_lines(output: str) -> list[str]:
    """The job's own lines in what ``ray job submit`` shows."""
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Running entrypoint"))
    end = next((i for i, line in enumerate(lines) if i > start and "WebSocket closed" in line), len(lines))
    return [line.rstrip() for line in lines[start + 1 : end]]


def test_the_log_of_a_job_is_plan_progress_errors_and_summary(head: Head, tmp_path: Path) -> None:
    write_shards(tmp_path, shards=4, samples=30)
    write_tar(tmp_path / "0-broken.tar", [(f"{i}.png", b"garbage") for i in range(3)])
    table = tmp_path / "table"
    script = [sys.executable, "jobs/refine.py", str(tmp_path / "*.tar"), str(table), *SETTINGS, *SLOW]
    done = head.ray("job", "submit", "--working-dir", ".", "--", *script)
    assert done.returncode == 0, done.stdout
    log = own_lines(done.stdout)
    assert re.fullmatch(rf"run \S+ with configuration \w{{16}} into {table}", log[0]), log
    assert log[1].startswith("5 of 5 shards to do, ")
    assert re.fullmatch(r"1 node, 2 CPUs, 0 GPUs: 2 x \[map, noise, inpaint, enhance, accept\]", log[2])
    middle = [line for line in log[3:] if re.match(r"shards \d/5 ", line)]
    assert middle, log
    assert all(re.match(r"shards \d/5 \| \d+ samples: .* images/s \| 0:\d\d", line) for line in middle)
    (told,) = [line for line in log if line.startswith("failing: not an image (")]
    summary = log.index(next(line for line in log if line.startswith("images ")))
    assert log.index(told) < summary
    assert set(log) == {*log[:3], told, *middle, *log[summary:]}  # and nothing else: no stacks, no noise of Ray's
    assert re.fullmatch(r"images\s+123: \d+ refined, \d+ kept, 3 failed", log[summary])
    assert [line.split()[0] for line in log[summary:]].count("failed") == 1
    assert next(line for line in log[summary:] if line.startswith("failed")).endswith("3 x not an image")
    assert log[-1].split() == ["table", str(table)]

    (written,) = (table / "_qrefine").glob("run-*.json")
    said = json.loads(written.read_text())
    statuses = [row["status"] for row in rows_of(table)]
    assert said["samples"] == len(statuses) == 123
    assert {name: said[name] for name in ("refined", "kept", "failed")} == {
        name: statuses.count(name) for name in ("refined", "kept", "failed")
    }
    assert said["errors"] == {"not an image": 3}


def test_a_job_that_is_stopped_and_submitted_anew_does_every_sample_once(head: Head, tmp_path: Path) -> None:
    corpus, settings = os.environ.get("QREFINE_CORPUS"), ["--set", "stream.commit_seconds=0.5"]
    if corpus is None:
        write_shards(tmp_path, shards=6, samples=20)
        corpus, settings = str(tmp_path), [*SETTINGS, *SLOW]
    samples = sorted(
        (sample.shard, sample.index)
        for shard in list_shards([corpus], {})
        for sample in read_shard(shard.url, RefineConfig().images)
    )
    table = tmp_path / "table"
    script = [sys.executable, "jobs/refine.py", corpus, str(table), *settings]
    submitted = head.ray("job", "submit", "--no-wait", "--working-dir", ".", "--", *script)
    (name,) = set(re.findall(r"raysubmit_\w+", submitted.stdout))
    until = time.monotonic() + 120
    while not ((table / "_delta_log").exists() and len(rows_of(table)) >= 8):
        assert time.monotonic() < until, head.ray("job", "logs", name).stdout
        time.sleep(0.5)
    assert head.ray("job", "stop", name).returncode == 0
    before = places(table)
    assert 0 < len(before) < len(samples)
    again = head.ray("job", "submit", "--working-dir", ".", "--", *script)
    assert again.returncode == 0, again.stdout
    assert f"{len(before)} rows are in the table" in again.stdout
    assert places(table) == samples
    print(again.stdout)


def test_exit_codes_reach_the_job(head: Head, tmp_path: Path) -> None:
    script = [sys.executable, "jobs/refine.py", str(tmp_path / "*.tar"), str(tmp_path / "table")]
    done = head.ray("job", "submit", "--working-dir", ".", "--", *script)
    assert done.returncode != 0
    assert "exit code 2" in done.stdout
    assert any(line.startswith("qrefine: nothing matches") for line in own_lines(done.stdout))


def test_nobody_submits_without_the_token(head: Head, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("0" * 64)
    for env in ({"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN_PATH": str(wrong)}):
        done = head.ray("job", "submit", "--", "true", **env)
        assert done.returncode != 0
        assert "AuthenticationError" in done.stdout, done.stdout


def test_the_installed_package_needs_no_working_directory(head: Head, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "qrefine", source / "qrefine", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    site = tmp_path / "site"
    install = ["pip", "install", "--quiet", "--no-deps", "--target", str(site), str(source)]
    subprocess.run([sys.executable, "-m", *install], check=True)
    shutil.rmtree(source)
    write_shards(tmp_path, shards=2, samples=4)
    command = [sys.executable, "-m", "qrefine.cli", "refine", str(tmp_path / "*.tar"), str(tmp_path / "table")]
    env = json.dumps({"env_vars": {"PYTHONPATH": str(site)}})  # as if the image had it
    done = head.ray("job", "submit", "--runtime-env-json", env, "--", *command, *SETTINGS)
    assert done.returncode == 0, done.stdout
    assert len(places(tmp_path / "table")) == 8
    assert list(site.glob("qrefine/stream/__pycache__/pools.*.pyc")), "the job ran another qrefine"
