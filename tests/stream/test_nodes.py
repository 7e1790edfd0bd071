"""Several nodes with logical GPUs: nodes that go and come, and how much work their going costs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from qrefine.config import RefineConfig, load_config
from qrefine.data.table import open_table
from qrefine.stream.driver import Summary, refine
from tests.conftest import PLAIN, write_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
MIB = 2**20


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
    return cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 * MIB)


def connect(cluster: Cluster) -> None:
    ray.init(address=cluster.address, log_to_driver=False)


def slow_config(log: Path, *settings: str, seconds: float = 0.1) -> RefineConfig:
    """A mapper that takes its time and writes down each image; nothing else runs."""
    options = f"mapper.options={{seconds: {seconds}, log: {log}}}"
    mapper = "mapper.name=tests.stream.backends:SlowMapper"
    return load_config(None, [*PLAIN, mapper, options, "stages=[]", "stream.commit_seconds=0.5", *settings])


def meanwhile(ready: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Does something once it is time, beside the run."""

    def wait() -> None:
        while not ready():
            time.sleep(0.1)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


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
    victim = nodes[0]
    killer = meanwhile(lambda: len(lines(log)) >= 120, lambda: cluster.remove_node(victim, allow_graceful=False))
    summary = refine([str(tmp_path / "*.tar")], str(tmp_path / "table"), slow_config(log))
    killer.join(60)
    check(shards, 16, tmp_path / "table", summary)
    by_node = Counter(lines(log))
    print(f"by node: {by_node}, retried {summary.retried_rows}, {summary.images_per_second:.1f} images/s")
    assert len(by_node) == 3, "not all GPUs were used"
    extra = len(lines(log)) / summary.samples
    print(f"samples computed / samples: {extra:.3f}")
    assert extra < 1.15
