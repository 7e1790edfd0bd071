"""A night is killed again and again: readers see yesterday's table until they see today's, and nothing is lost."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import deltalake
import psutil
import pytest

from tests.support import PLAIN, write_shards

KILLS = 8
LONGEST_WAIT_S = 25.0
SHARDS, SAMPLES = 6, 8


def start(folder: Path, table: Path) -> subprocess.Popen[bytes]:
    settings = [
        flag
        for setting in (*PLAIN, "stream.executor=ray", "stream.commit_seconds=0.5")
        for flag in ("--set", setting)
    ]
    command = [
        sys.executable,
        "-m",
        "qrefine.cli",
        "nightly",
        str(folder),
        str(table),
        "--below",
        "0.99",
        *settings,
    ]
    with (folder.parent / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def kill(driver: subprocess.Popen[bytes]) -> None:
    """The driver at once, and what it leaves: the night must not be saved by its own children."""
    below = psutil.Process(driver.pid).children(recursive=True)  # a zombie at worst: nobody waited for it yet
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def rows_of(table: Path, version: int) -> dict[tuple[str, int], tuple[str, float]]:
    rows = deltalake.DeltaTable(str(table), version=version).to_pyarrow_table().to_pylist()
    found = {(row["shard"], row["index"]): (row["run"], row["quality_after"]) for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_lose_nothing_and_a_night_stays_one_version(tmp_path: Path) -> None:
    folder, table = tmp_path / "shards", tmp_path / "table"
    folder.mkdir()
    write_shards(folder, SHARDS // 2, SAMPLES)
    assert start(folder, table).wait(timeout=300) == 0
    write_shards(folder, SHARDS, SAMPLES)  # the first ones are written anew: changed
    rng, kills, version = random.Random(2401), 0, 1
    while kills < KILLS:
        driver = start(folder, table)
        try:
            driver.wait(timeout=rng.uniform(5, LONGEST_WAIT_S))
        except subprocess.TimeoutExpired:
            kill(driver)
            kills += 1
        latest = deltalake.DeltaTable(str(table)).version()
        assert latest in (version, version + 1)
        if latest == version:
            continue
        rows, before = rows_of(table, latest), rows_of(table, version)
        assert len(rows) == SHARDS * SAMPLES
        if version > 1:
            assert all(quality >= before[place][1] for place, (_, quality) in rows.items())
        version = latest
    time.sleep(1)
    last = start(folder, table)
    assert last.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()
    latest = deltalake.DeltaTable(str(table)).version()
    assert latest in (version, version + 1)
    assert len(rows_of(table, latest)) == SHARDS * SAMPLES
    print(f"{kills} kills, {latest} versions, {SHARDS * SAMPLES} samples: none lost, none twice")
