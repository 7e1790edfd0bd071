"""Across real network borders: two nodes in two network namespaces, an object store that both reach, a cut link.

store and bridge (root) 10.203.77.1 --+-- head   10.203.77.2  (namespace qrefine-a)
                                      +-- worker 10.203.77.3  (namespace qrefine-b)
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from qrefine.storage.store import Store
from qrefine.table.table import open_table
from tests.stream.heads import RAY, ROOT, free_ports
from tests.support import PLAIN, write_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
STORE, HEAD, WORKER = "10.203.77.1", "10.203.77.2", "10.203.77.3"
BRIDGE = "qrefine-br"
SPACES = {"a": HEAD, "b": WORKER}
CUT_S = 20
SHARDS, SAMPLES = 8, 20


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def inside(space: str, command: list[str]) -> list[str]:
    return ["ip", "netns", "exec", f"qrefine-{space}", *command]


@contextmanager
def two_namespaces() -> Iterator[None]:
    """Two namespaces on one bridge; skips the test with the reason where they are not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("no `ip`: install iproute2")
    with ExitStack() as undo:
        try:
            ip("link", "add", BRIDGE, "type", "bridge")
            undo.callback(ip, "link", "del", BRIDGE)
            ip("addr", "add", f"{STORE}/24", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            for space, address in SPACES.items():
                ip("netns", "add", f"qrefine-{space}")
                undo.callback(ip, "netns", "del", f"qrefine-{space}")
                ip("link", "add", f"qrefine-{space}", "type", "veth", "peer", "name", f"qrefine-{space}0")
                ip("link", "set", f"qrefine-{space}0", "netns", f"qrefine-{space}")
                ip("link", "set", f"qrefine-{space}", "master", BRIDGE, "up")
                for settings in (
                    ("addr", "add", f"{address}/24", "dev", f"qrefine-{space}0"),
                    ("link", "set", f"qrefine-{space}0", "up"),
                    ("link", "set", "lo", "up"),
                ):
                    subprocess.run(inside(space, ["ip", *settings]), check=True)
        except OSError as error:
            if "permitted" not in str(error) and "supported" not in str(error):
                raise
            pytest.skip(f"network namespaces are not allowed here: {error}")
        yield


@contextmanager
def background(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with all that it starts, killed with the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(
    ready: Callable[[], bool], seconds: float, log: Path, of: subprocess.Popen[bytes] | None = None
) -> None:
    """Until it is so; fails with the log where that takes too long or the process that should do it ends."""
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, log.read_text()
        assert of is None or of.poll() is None, log.read_text()
        time.sleep(0.2)


class Site:
    """The store, the two nodes, and what it takes to start a driver on either."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images.log"
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "ray").mkdir()
        (port, self.store_port) = free_ports(2)
        self.address = f"{HEAD}:{port}"
        (folder / "token").write_text(secrets.token_hex(32))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_"))}
        self.env = kept | {
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "AWS_ENDPOINT_URL": f"http://{STORE}:{self.store_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def store(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", STORE, "-p", str(self.store_port)]

    def machine(self, space: str, command: list[str]) -> list[str]:
        """The command as on a machine of its own: network, processes, and Ray's folder are its own."""
        own = self.folder / f"ray-{space}"
        own.mkdir()
        mount = f'mount --bind {own} {self.folder / "ray"} && exec "$@"'
        apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return inside(space, [*apart, "sh", "-c", mount, "sh", *command])

    def node(self, space: str) -> list[str]:
        own = ["--head", f"--port={self.address.rpartition(':')[2]}", f"--temp-dir={self.folder / 'ray'}"]
        role = [*own, "--include-dashboard=false"] if space == "a" else [f"--address={self.address}"]
        size = ["--num-cpus=4", "--num-gpus=1", f"--object-store-memory={100 * 2**20}"]
        start = [RAY, "start", "--block", "--disable-usage-stats", f"--node-ip-address={SPACES[space]}"]
        return self.machine(space, [*start, *size, *role])

    def driver(self, space: str) -> list[str]:
        mapper = f"mapper.options={{seconds: 0.4, log: {self.images}}}"
        settings = [
            *(*PLAIN, "mapper.name=tests.stream.backends:SlowMapper", mapper, "stages=[]"),
            *(f"stream.address={self.address}", "stream.commit_seconds=1", "stream.part_rows=4"),
            *("stream.batch_size=4", "stream.block_mb=0.05"),
        ]
        flags = [flag for setting in settings for flag in ("--set", setting)]
        refine = [sys.executable, "-m", "qrefine.cli", "refine", "s3://corpus/*.tar", "s3://corpus/table"]
        (inner,) = psutil.Process(self.nodes[space].pid).children()  # Ray looks for its node among the processes
        return ["nsenter", "-t", str(inner.pid), "-n", "-p", "-m", "--", *refine, *flags]

    def computed(self) -> list[str]:
        """The node of each image, in order."""
        return self.images.read_text().split() if self.images.exists() else []


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    folder = Path(tempfile.mkdtemp(prefix="qst-", dir="/tmp"))  # short: paths of sockets end at 107 characters
    site = Site(folder)
    for name, value in site.env.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    with two_namespaces(), background(site.store(), site.env, folder / "store.log"):
        filesystem = Store.at("s3://corpus").filesystem
        wait_until(lambda: made(filesystem), 60, folder / "store.log")
        shards = folder / "shards"
        shards.mkdir()
        for path in write_shards(shards, SHARDS, SAMPLES, size=64):
            filesystem.put_file(str(path), f"corpus/{path.name}")
        with ExitStack() as nodes:
            for space in SPACES:
                log = folder / f"{space}.log"
                node = site.nodes[space] = nodes.enter_context(background(site.node(space), site.env, log))
                wait_until(partial(started, log), 240, log, node)
            yield site
    shutil.rmtree(folder, ignore_errors=True)


def started(log: Path) -> bool:
    return "Ray runtime started" in log.read_text()


def made(filesystem: object) -> bool:
    try:
        filesystem.makedir("corpus")  # type: ignore[attr-defined]
    except Exception:  # it is not up yet
        return False
    return True


def test_a_cut_link_and_a_driver_that_moves_lose_nothing(site: Site) -> None:
    log = site.folder / "driver.log"
    with background(site.driver("a"), site.env, log) as driver:
        wait_until(lambda: len(set(site.computed())) == 2 and len(site.computed()) > 40, 240, log, driver)
        ip("link", "set", "qrefine-b", "down")
        before = len(site.computed())
        time.sleep(CUT_S)
        during = site.computed()[before:]
        ip("link", "set", "qrefine-b", "up")
        assert during, "the other node stood still"
        after = len(site.computed())
        wait_until(lambda: len(site.computed()) > after + 10, 240, log, driver)
        os.killpg(driver.pid, signal.SIGKILL)  # the driver's machine is gone; another one takes over
        driver.wait()
    with background(site.driver("b"), site.env, log) as driver:
        wait_until(lambda: driver.poll() is not None, 400, log)
        assert driver.returncode == 0, log.read_text()
    print(log.read_text())
    rows = open_table("s3://corpus/table").to_pyarrow_table(columns=["shard", "index", "status"]).to_pylist()
    places = sorted((row["shard"], row["index"]) for row in rows)
    assert places == sorted((f"s3://corpus/{s:06d}.tar", i) for s in range(SHARDS) for i in range(SAMPLES))
    assert {row["status"] for row in rows} == {"kept"}
    by_node = Counter(site.computed())
    print(f"computed / samples: {len(site.computed()) / len(rows):.3f}; by node: {list(by_node.values())}")
    assert len(by_node) == 2
