"""A Ray head of the tests' own: on ports and with a token of its own, on loopback alone."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).parent / "ray")
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
START_S = 90


@dataclass(frozen=True)
class Head:
    """A running head: where it is, and the environment with which its clients find their way in."""

    address: str
    dashboard: str
    metrics: str
    env: Mapping[str, str]

    def ray(self, *arguments: str, timeout: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
        """Run ``ray ARGUMENTS``; standard error goes into the output."""
        return subprocess.run(
            [RAY, *arguments],
            cwd=ROOT,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def exports(self) -> bool:
        """Whether its agent serves metrics already."""
        try:
            return bool(self.scrape())
        except OSError:
            return False

    def scrape(self) -> str:
        """What Prometheus would read now."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            return answer.read().decode()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def running_head(*options: str, cpus: int = 2) -> Iterator[Head]:
    """``ray start --head`` in token mode, ended with all its processes."""
    folder = Path(tempfile.mkdtemp(prefix="qst-", dir="/tmp"))  # short: paths of sockets end at 107 characters
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    port, dashboard, metrics, agent, client = free_ports(5)
    drop = ("RAY_", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(drop)} | {
        **LOOPBACK_ONLY,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    command = [
        *(RAY, "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--port={port}", f"--dashboard-port={dashboard}", f"--metrics-export-port={metrics}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
        *(f"--num-cpus={cpus}", f"--object-store-memory={200 * 2**20}", f"--temp-dir={folder / 'ray'}"),
        *options,
    ]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    head = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", f"http://127.0.0.1:{metrics}/metrics", env)
    try:
        until = time.monotonic() + START_S
        while head.ray("job", "list").returncode or not head.exports():
            alive = process.poll() is None and time.monotonic() < until
            assert alive, (folder / "head.log").read_text()
            time.sleep(1)
        yield head
    finally:
        process.terminate()  # it ends what it started
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
