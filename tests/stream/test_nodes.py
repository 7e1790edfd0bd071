"""Several nodes with logical GPUs: nodes that go and come, and how much work their going costs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest
import ray
from ray._private.worker import global_worker
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

from qrefine.api import refine
from qrefine.config import RefineConfig, load_config
from qrefine.table.table import open_table
from qrefine.work.refine import Summary
from tests.support import PLAIN, write_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MIB = 2**20
NOTICE_S = 8.0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that only drives and reads, as in production; the GPUs are the tests' to add."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    args = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 200 * MIB, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=args)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def add_gpu_node(cluster: Cluster) -> ray._private.node.Node:
    return cluster.add_node(num_cpus=4, num_gpus=1, object_store_memory=100 * MIB)


def connect(cluster: Cluster) -> None:
    ray.init(address=cluster.address, log_to_driver=False)


def slow_config(log: Path, *settings: str, seconds: float = 0.1) -> RefineConfig:
    """A mapper that takes its time and writes down each image; nothing else runs."""
    options = f"mapper.options={{seconds: {seconds}, log: {log}}}"
    mapper = "mapper.name=tests.stream.backends:SlowMapper"
    return load_config(None, [*PLAIN, mapper, options, "stages=[]", "stream.commit_seconds=0.5", *settings])


def begin(tmp_path: Path, config: RefineConfig) -> Future[Summary]:
    """Refine beside the test, which alone may start and end nodes: Ray wants the main thread for that."""
    return ThreadPoolExecutor(1).submit(refine, [str(tmp_path / "*.tar")], str(tmp_path / "table"), config)


def wait_for(run: Future[Summary], log: Path, images: int) -> None:
    """Until so many images were computed."""
    while len(lines(log)) < images:
        if run.done():
            pytest.fail(f"the run ended early: {run.result()}")
        time.sleep(0.1)


def lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def check(shards: list[Path], samples: int, table: Path, summary: Summary) -> None:
    rows = open_table(str(table)).to_pyarrow_table(columns=["shard", "index", "status"]).to_pylist()
    places = sorted((row["shard"], row["index"]) for row in rows)
    assert places == sorted((str(path), i) for path in shards for i in range(samples))
    assert {row["status"] for row in rows} == {"kept"}
    assert summary.samples == len(rows)


def test_of_three_nodes_one_is_killed_and_little_is_done_twice(cluster: Cluster, tmp_path: Path) -> None:
    nodes = [add_gpu_node(cluster) for _ in range(3)]
    connect(cluster)
    shards = write_shards(tmp_path, shards=20, samples=16, size=64)
    log = tmp_path / "log"
    run = begin(tmp_path, slow_config(log))
    wait_for(run, log, 120)
    cluster.remove_node(nodes[0], allow_graceful=False)
    summary = run.result()
    check(shards, 16, tmp_path / "table", summary)
    by_node = Counter(lines(log))
    extra = len(lines(log)) / summary.samples
    print(f"computed / samples: {extra:.3f}; {summary.retried_rows} retried; by node: {list(by_node.values())}")
    assert len(by_node) == 3, "not all GPUs were used"
    assert len(set(lines(log)[:60])) == 3, "the pool grew one by one"
    assert extra < 1.15


def test_a_node_that_is_taken_back_and_a_new_one(cluster: Cluster, tmp_path: Path) -> None:
    """As a spot node goes: a notice, a deadline, the end; and another joins."""
    leaver, _ = add_gpu_node(cluster), add_gpu_node(cluster)
    connect(cluster)
    shards = write_shards(tmp_path, shards=12, samples=20, size=64)
    log = tmp_path / "log"
    run = begin(tmp_path, slow_config(log, seconds=0.2))
    wait_for(run, log, 40)
    accepted, why = global_worker.gcs_client.drain_node(
        leaver.node_id,
        autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
        "spot capacity is taken back",
        int((time.time() + NOTICE_S) * 1000),
    )
    assert accepted, why
    time.sleep(NOTICE_S)
    cluster.remove_node(leaver, allow_graceful=False)
    successor = add_gpu_node(cluster)
    summary = run.result()
    check(shards, 20, tmp_path / "table", summary)
    by_node = Counter(lines(log))
    extra = len(lines(log)) / summary.samples
    print(f"computed / samples: {extra:.3f}; {summary.retried_rows} retried; by node: {list(by_node.values())}")
    assert by_node[successor.node_id] > 8, "the new node was not used"
    assert extra < 1.05, "what was under way before the notice was lost"


def test_a_pool_grows_onto_a_node_that_joins(cluster: Cluster, tmp_path: Path) -> None:
    add_gpu_node(cluster)
    connect(cluster)
    shards = write_shards(tmp_path, shards=12, samples=20, size=64)
    log = tmp_path / "log"
    run = begin(tmp_path, slow_config(log, seconds=0.2))
    wait_for(run, log, 20)
    newcomer = add_gpu_node(cluster)
    check(shards, 20, tmp_path / "table", run.result())
    by_node = Counter(lines(log))
    print(f"by node: {list(by_node.values())}")
    assert by_node[newcomer.node_id] > 8


def test_a_pool_gives_gpus_back_while_readers_starve(cluster: Cluster, tmp_path: Path) -> None:
    for _ in range(3):
        add_gpu_node(cluster)
    connect(cluster)
    write_shards(tmp_path, shards=3, samples=20, size=64)
    log = tmp_path / "log"
    with trickling(tmp_path, seconds=35) as url:
        sources = [f"{url}/{i:06d}.tar" for i in range(3)]
        config = slow_config(log, "stream.block_mb=0.03", "stream.batch_size=2", seconds=0.01)
        run = ThreadPoolExecutor(1).submit(refine, sources, str(tmp_path / "table"), config)
        least = 3.0
        while not run.done() and not lines(log):  # with the first image it may give some back already
            least = min(least, ray.available_resources().get("GPU", 0))
            time.sleep(0.1)
        assert least == 0, "the pool did not fill its GPUs at the start"
        free = 0.0
        while not run.done():
            if len(lines(log)) < 60:
                free = max(free, ray.available_resources().get("GPU", 0))
            time.sleep(0.5)
    assert run.result().samples == 60
    print(f"GPUs given back in mid-run: {free:g} of 3")
    assert free >= 1


@contextmanager
def trickling(folder: Path, seconds: float) -> Iterator[str]:
    """A store so slow that each file takes this long."""

    class Slow(SimpleHTTPRequestHandler):
        def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:
            data = source.read()
            step = max(1, len(data) // int(10 * seconds))
            for start in range(0, len(data), step):
                outputfile.write(data[start : start + step])
                outputfile.flush()
                time.sleep(0.1)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Slow, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
