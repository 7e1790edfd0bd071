"""What a night reads of a corpus and of its table on an object store, counted at the server."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from qrefine.config import load_config
from qrefine.data.table import Table
from qrefine.stream.driver import refine
from qrefine.stream.nightly import nightly
from tests.conftest import PLAIN, encoded, noisy, photo, write_tar

pytestmark = pytest.mark.usefixtures("cluster")
SHARDS, SAMPLES = 100, 2


class Counted:
    """Counts the bytes that a WSGI application sends, by object; bodies of objects alone, no listings."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.sent: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        body = environ["REQUEST_METHOD"] == "GET" and path.count("/") > 1 and path[-1] != "/"
        for data in self._app(environ, start):
            if body:
                with self._lock:
                    self.sent[path] += len(data)
            yield data

    def take(self) -> Counter[str]:
        with self._lock:
            sent, self.sent = self.sent, Counter()
        return sent


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, Any], Counted]]:
    """An S3 server of this process, its fsspec options, and what it sent."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    counted = Counted(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, counted, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{server.port}"}, counted
    server.shutdown()


def put(filesystem: s3fs.S3FileSystem, folder: Path, number: int, round: int) -> None:
    images = [noisy(photo("chelsea", 64), seed=number * 10 + round), photo("coffee", 64 - round)]
    members = [(f"{number:03d}{i}.png", encoded(image)) for i, image in enumerate(images)]
    filesystem.put_file(str(write_tar(folder / "x.tar", members)), f"corpus/{number:06d}.tar")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_night_reads_new_and_changed_shards_and_no_other_body(
    tmp_path: Path, store: tuple[dict[str, Any], Counted]
) -> None:
    options, counted = store
    filesystem = s3fs.S3FileSystem(**options, skip_instance_cache=True)
    for bucket in ("corpus", "tables"):
        filesystem.mkdir(bucket)
    for number in range(SHARDS):
        put(filesystem, tmp_path, number, 0)
    config = load_config(None, PLAIN).model_copy(update={"storage_options": options})
    counted.take()
    began = time.monotonic()
    whole = refine(["s3://corpus"], "s3://tables/t", config)
    full_s, full = time.monotonic() - began, counted.take()
    assert whole.samples == SHARDS * SAMPLES

    for number in (7, 42):
        put(filesystem, tmp_path, number, 1)
    for number in range(SHARDS, SHARDS + 3):
        put(filesystem, tmp_path, number, 0)
    version = Table.open("s3://tables/t", options).version
    counted.take()
    began = time.monotonic()
    summary = nightly(["s3://corpus"], "s3://tables/t", config)
    night_s, night = time.monotonic() - began, counted.take()
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
    counted.take()
    assert not nightly(["s3://corpus"], "s3://tables/t", config).committed
    assert not any(path.endswith((".tar", ".parquet")) for path in counted.take())
