"""The main job on Ceph while everything goes wrong; its rows are those of a run that nobody disturbed.

``QREFINE_CORPUS`` names folders of shards, with a colon between them; else it is the demo's corpus.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest

from qrefine.cli.demo import write_corpus
from qrefine.config import load_config
from qrefine.corpus.images import decode
from qrefine.corpus.listing import list_shards
from qrefine.storage.store import Store
from qrefine.table.parts import PREFIX
from qrefine.table.table import open_table
from tests.ceph.gateway import Ceph
from tests.ceph.proxy import FaultProxy, share
from tests.stream.victims import victims

pytestmark = [pytest.mark.storage, pytest.mark.slow, pytest.mark.timeout(3600)]

EVENTS = ("worker", "driver", "restart", "driver", "worker", "driver")
FAULT_RATE = 0.05
LONGEST_WAIT_S = 4.0
IMAGES = load_config().images
Rows = dict[tuple[str, int], tuple[str, str, bytes]]


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    given = os.environ.get("QREFINE_CORPUS")
    return given.split(":") if given else [write_corpus(tmp_path / "corpus")]


def start(inputs: list[str], output: str, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    settings = ["stream.batch_size=4", "stream.commit_seconds=1"]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    command = [sys.executable, "-m", "qrefine.cli", "refine", *inputs, output, *flags]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})


def rows_of(table: str) -> tuple[Rows, int]:
    """Key, status and pixels of each sample, by its shard's folder and name; and how many rows are too many."""
    columns = ["shard", "index", "key", "status", "image"]
    found: Rows = {}
    count = 0
    for batch in open_table(table).to_pyarrow_dataset().to_batches(columns=columns, batch_size=8):
        for row in batch.to_pylist():
            pixels = b"" if row["image"] is None else np.asarray(decode(row["image"]["bytes"], IMAGES)).tobytes()
            place = ("/".join(row["shard"].split("/")[-2:]), row["index"])
            found[place] = (row["key"], row["status"], pixels)
            count += 1
    return found, count - len(found)


def upload(folders: list[str], bucket: str) -> list[str]:
    """The shards on the store, each folder under its own name."""
    inputs = []
    for folder in folders:
        name = Path(folder).name
        raw = Store.at(f"{bucket}/raw/{name}")
        for shard in list_shards([folder], {}):
            with open(shard.url, "rb") as file:
                raw.upload(Path(shard.url).name, file)
        inputs.append(raw.url)
    return inputs


def version(table: str) -> int:
    return int(open_table(table).version()) if Store.at(table).exists() else 0


def strike(event: str, driver: subprocess.Popen[bytes], table: str, store: Ceph, rng: random.Random) -> bool:
    """Do it at a random moment after a commit, while actors are at work; False where the run ended before that."""
    before = version(table)
    while version(table) == before:
        if driver.poll() is not None:
            return False
        time.sleep(0.5)
    time.sleep(rng.uniform(0, LONGEST_WAIT_S))
    found = victims(driver, "driver" if event == "driver" else "actor")
    if driver.poll() is not None or not found:
        return False
    if event == "restart":
        store.ceph("stop")
        store.ceph("start")
        return True
    below = psutil.Process(driver.pid).children(recursive=True) if event == "driver" else []
    os.kill(rng.choice(found).pid, signal.SIGKILL)
    psutil.wait_procs(below, timeout=60)  # the Ray that it started ends by itself
    return True


def test_kills_a_restart_and_failing_requests_change_no_row(
    store: Ceph, bucket: str, folders: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    seed = int(os.environ.get("QREFINE_SEED", "2401"))
    rng = random.Random(seed)
    log = tmp_path / "log.txt"
    assert start(folders, str(tmp_path / "reference"), log, {}).wait(1200) == 0, log.read_text()
    expected, twice = rows_of(str(tmp_path / "reference"))
    assert not twice
    inputs, output = upload(folders, bucket), f"{bucket}/table"
    events = list(EVENTS)
    done: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    with FaultProxy(store.port, share(FAULT_RATE, seed=seed)) as proxy:
        through = {**environment, "AWS_ENDPOINT_URL": proxy.url}
        while events or not codes[0]:
            driver = start(inputs, output, log, through)
            while events and strike(events[0], driver, output, store, rng):
                done[events.pop(0)] += 1
            codes[driver.wait(1200)] += 1
            assert sum(codes.values()) < 20, log.read_text()
            if codes[0]:
                break
        print(f"\n{dict(done)}; exit codes {dict(codes)}; {proxy.requests} requests, faults {dict(proxy.faults)}")
    assert not events, "the run ended before all was done to it"
    found, twice = rows_of(output)
    wrong = [place for place in expected if found.get(place) != expected[place]]
    print(
        f"{len(expected)} samples: {len(expected.keys() - found.keys())} lost, {twice} twice, {len(wrong)} wrong"
    )
    print(Counter(status for _, status, _ in found.values()))
    assert (found.keys(), twice, wrong) == (expected.keys(), 0, [])
    delta = open_table(output)
    parts = {name for name in Store.at(output).names() if PREFIX in name}
    last = {uri.rpartition("/")[2] for uri in delta.file_uris()}
    print(f"{len(parts - last)} of {len(parts)} parts are leftovers of the last run's lost attempts")
