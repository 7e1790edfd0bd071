"""Ten random kills of a run on Ray: no sample is lost, none appears twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrefine.table.table import open_table
from tests.stream.victims import victims
from tests.support import PLAIN, write_shards

KILL_SHARDS, KILL_SAMPLES = 6, 8
ROUNDS = 10
LONGEST_WAIT_S = 12.0


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
        "refine",
        str(folder),
        str(table),
        "--set",
        "stream.part_rows=4",
    ]
    log = (folder.parent / "log.txt").open("ab")
    return subprocess.Popen([*command, *settings], stdout=log, stderr=log)


def kill_one(driver: subprocess.Popen[bytes], kind: str, rng: random.Random) -> bool:
    """Kill one at a random moment; False where the run ended before there was one."""
    until = time.monotonic() + 120
    while not victims(driver, kind if kind != "driver" else "actor"):
        if driver.poll() is not None or time.monotonic() > until:
            return False
        time.sleep(0.05)
    time.sleep(rng.uniform(0, LONGEST_WAIT_S))
    found = victims(driver, kind)
    if driver.poll() is not None or not found:
        return False
    try:
        os.kill(rng.choice(found).pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write_shards(folder, KILL_SHARDS, KILL_SAMPLES)
    rng = random.Random(2401)
    kills = {"driver": 0, "actor": 0, "worker": 0}
    table = tmp_path / "table-0"
    for turn in range(ROUNDS * 4):
        kind = ("driver", "actor", "worker")[turn % 3]
        driver = start(folder, table)
        kills[kind] += kill_one(driver, kind, rng)
        driver.wait(timeout=300)
        if driver.returncode == 0:  # else the next start continues: a killed agent of Ray takes its node with it
            check(table)
            table = tmp_path / f"table-{turn + 1}"
        if sum(kills.values()) >= ROUNDS:
            break
    last = start(folder, table)
    assert last.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()
    check(table)
    print(f"kills: {kills}")
    assert sum(kills.values()) == ROUNDS


def check(table: Path) -> None:
    rows = open_table(str(table)).to_pyarrow_table(columns=["shard", "index", "status"]).to_pylist()
    places = {(row["shard"], row["index"]) for row in rows}
    assert len(places) == len(rows) == KILL_SHARDS * KILL_SAMPLES
    assert all(row["status"] != "failed" for row in rows)
