"""What a night reads of a corpus and of its table on an object store, counted at the server.

``QREFINE_CORPUS=... pytest -m slow -s`` on this file measures with real images and the shipped settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from qrefine.api import nightly, refine
from qrefine.config import ImageSettings, load_config
from qrefine.corpus.listing import list_shards
from qrefine.corpus.shards import read_shard
from qrefine.storage.store import Store
from qrefine.table.table import Table
from tests.stream.counting_store import TAKE
from tests.support import PLAIN, encoded, noisy, photo, write_tar

pytestmark = pytest.mark.usefixtures("cluster")
SHARDS, SAMPLES = 100, 4


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


def images() -> list[bytes]:
    """Those of the corpus that ``QREFINE_CORPUS`` names, else small photographs."""
    corpus = os.environ.get("QREFINE_CORPUS")
    if corpus:
        shards = list_shards([corpus], {})
        return [s.source for shard in shards for s in read_shard(shard.url, ImageSettings()) if s.source]
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return [encoded(noisy(photo(names[i % 4], 64), seed=i)) for i in range(32)]


def put(filesystem: s3fs.S3FileSystem, found: list[bytes], folder: Path, number: int, shift: int = 0) -> None:
    members = [
        (f"{number:03d}{i}.png", found[(number * SAMPLES + i + shift) % len(found)]) for i in range(SAMPLES)
    ]
    filesystem.put_file(str(write_tar(folder / "x.tar", members)), f"corpus/{number:06d}.tar")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_night_reads_new_and_changed_shards_and_no_other_body(tmp_path: Path, store: str) -> None:
    options = {"key": "k", "secret": "s", "endpoint_url": store}
    filesystem = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    for bucket in ("corpus", "tables"):
        filesystem.mkdir(bucket)
    found = images()
    for number in range(SHARDS):
        put(filesystem, found, tmp_path, number)
    config = load_config(None, () if "QREFINE_CORPUS" in os.environ else PLAIN).model_copy(
        update={"storage_options": options}
    )
    take(store)
    began = time.monotonic()
    whole = refine(["s3://corpus"], "s3://tables/t", config)
    full_s, full = time.monotonic() - began, take(store)
    assert whole.samples == SHARDS * SAMPLES

    for number in (7, 42):
        put(filesystem, found, tmp_path, number, shift=len(found) // 2)
    for number in range(SHARDS, SHARDS + 3):
        put(filesystem, found, tmp_path, number)
    version = Table.open(Store.at("s3://tables/t", options)).version
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
    table = Table.open(Store.at("s3://tables/t", options))
    assert table.ledger().row_count == (SHARDS + 3) * SAMPLES
    take(store)
    assert not nightly(["s3://corpus"], "s3://tables/t", config).committed
    assert not any(path.endswith((".tar", ".parquet")) for path in take(store))
