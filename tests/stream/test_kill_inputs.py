"""A Parquet file and an image folder on Ray: killed and continued, they give the rows of a run in one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import deltalake
import pytest

from qrefine.api import refine
from qrefine.config import load_config
from tests.corpus.kinds import as_folder, as_parquet
from tests.stream.victims import victims
from tests.support import PLAIN

SLOW = (
    *PLAIN,
    "mapper.name=tests.stream.backends:SlowMapper",
    "stream.batch_size=2",
    "stream.commit_seconds=0.2",
)
SAMPLES = 16  # of each


def start(inputs: list[str], table: Path, log: Path) -> subprocess.Popen[bytes]:
    flags = [flag for setting in (*SLOW, "stream.executor=ray") for flag in ("--set", setting)]
    command = [sys.executable, "-m", "qrefine.cli", "refine", *inputs, str(table), *flags]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file)


def rows(table: Path) -> list[dict[str, Any]]:
    if not (table / "_delta_log").exists():
        return []
    found = deltalake.DeltaTable(str(table)).to_pyarrow_table().to_pylist()
    assert len({(row["shard"], row["index"]) for row in found}) == len(found)
    return sorted(found, key=lambda row: (row["shard"], row["index"]))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    inputs = [str(as_parquet(tmp_path, SAMPLES)), str(as_folder(tmp_path, SAMPLES))]
    table, log = tmp_path / "table", tmp_path / "log.txt"
    for kind in ("driver", "actor"):
        driver = start(inputs, table, log)
        done = len(rows(table))
        while driver.poll() is None and not (victims(driver, "actor") and done < len(rows(table)) < 2 * SAMPLES):
            time.sleep(0.1)
        assert driver.poll() is None, "it ended before it could be killed"
        os.kill(victims(driver, kind)[0].pid, signal.SIGKILL)
        driver.wait(timeout=300)
        assert kind == "driver" or driver.returncode == 0, log.read_text()
    assert start(inputs, table, log).wait(timeout=300) == 0
    refine(inputs, str(tmp_path / "local"), load_config(None, [*SLOW, "stream.executor=local"]))
    found, expected = rows(table), rows(tmp_path / "local")
    assert len(found) == 2 * SAMPLES
    assert {row["status"] for row in found} == {"refined", "kept"}
    for row, other in zip(found, expected, strict=True):
        assert {**row, "run": None} == {**other, "run": None}
