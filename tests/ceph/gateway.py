"""A Ceph of our own: a folder, a gateway's port, and the script that starts and stops it."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("ceph.sh")


def free_ports() -> int:
    """The first of two neighbouring ports that nobody listens on."""
    for port in range(7480, 7980, 2):
        try:
            for candidate in (port, port + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        return port
    raise RuntimeError("no free ports")


@dataclass(frozen=True)
class Ceph:
    """A running object store, its folder and its gateway's port."""

    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        lines = (self.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def secret(self) -> str:
        return self.environment["AWS_SECRET_ACCESS_KEY"]

    def ceph(self, action: str) -> None:
        done = subprocess.run(
            [SCRIPT, action, self.folder, str(self.port)], capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
