"""What a night reads of a corpus and of its table on an object store, counted at the server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from qrefine.config import load_config
from qrefine.data.table import Table
from qrefine.stream.driver import refine
from qrefine.stream.nightly import nightly
from tests.conftest import PLAIN, encoded, noisy, photo, write_tar
from tests.stream.counting_store import TAKE

pytestmark = pytest.mark.usefixtures("cluster")
SHARDS, SAMPLES = 100, 2


@pytest.fixture
def store() -> Iterator[str]:
    """The address of an S3 server."""
    command = [sys.executable, "-m", "tests.stream.counting_store"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.terminate()


def take(store: str) -> dict[str, int]:
    """Bytes of each object that the store sent since the last time."""
    with urllib.request.urlopen(f"{store}{TAKE}") as answer:
        found: dict[str, int] = json.load(answer)
    return found


def put(filesystem: s3fs.S3FileSystem, folder: Path, number: int, round: int) -> None:
    images = [noisy(photo("chelsea", 64), seed=number * 10 + round), photo("coffee", 64 - round)]
    members = [(f"{number:03d}{i}.png", encoded(image)) for i, image in enumerate(images)]
    filesystem.put_file(str(write_tar(folder / "x.tar", members)), f"corpus/{number:06d}.tar")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_night_reads_new_and_changed_shards_and_no_other_body(tmp_path: Path, store: str) -> None:
    options = {"key": "k", "secret": "s", "endpoint_url": store}
    filesystem = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    for bucket in ("corpus", "tables"):
        filesystem.mkdir(bucket)
    for number in range(SHARDS):
        put(filesystem, tmp_path, number, 0)
    config = load_config(None, PLAIN).model_copy(update={"storage_options": options})
    take(store)
    began = time.monotonic()
    whole = refine(["s3://corpus"], "s3://tables/t", config)
    full_s, full = time.monotonic() - began, take(store)
    assert whole.samples == SHARDS * SAMPLES

    for number in (7, 42):
        put(filesystem, tmp_path, number, 1)
    for number in range(SHARDS, SHARDS + 3):
        put(filesystem, tmp_path, number, 0)
    version = Table.open("s3://tables/t", options).version
    take(store)
    began = time.monotonic()
    summary = nightly(["s3://corpus"], "s3://tables/t", config)
    night_s, night = time.monotonic() - began, take(store)
    assert (summary.plan.new, summary.plan.changed, summary.samples) == (3, 2, 5 * SAMPLES)
    assert summary.version == version + 1

    bodies = {path for path, sent in night.items() if path.endswith((".tar", ".parquet")) and sent}
    assert bodies == {f"/corpus/{number:06d}.tar" for number in (7, 42, 100, 101, 102)}
    shards = {name: sum(n for path, n in sent.items() if path.endswith(".tar")) for name, sent in
              (("full", full), ("night", night))}  # fmt: skip
    print(
        f"\nfull run: {full_s:.1f} s, {shards['full']} bytes of shards, {sum(full.values())} of all;"
        f" night: {night_s:.1f} s, {shards['night']} bytes of shards, {sum(night.values())} of all"
    )
    assert shards["night"] < 0.1 * shards["full"]
    table = Table.open("s3://tables/t", options)
    assert table.ledger().row_count == (SHARDS + 3) * SAMPLES
    take(store)
    assert not nightly(["s3://corpus"], "s3://tables/t", config).committed
    assert not any(path.endswith((".tar", ".parquet")) for path in take(store))
