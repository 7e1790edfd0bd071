"""A local Ray: its own, quiet, and closed to everybody else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.stream.heads import ROOT

LISTENERS = """
import psutil, ray
from qrefine.config import StreamSettings
from qrefine.stream.session import session

with session(StreamSettings(store_mb=80)):
    family = {psutil.Process().pid, *(child.pid for child in psutil.Process().children(recursive=True))}
    found = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.pid in family]
    print("listening", len(found))
    print("hosts", *sorted({c.laddr.ip for c in found}))
from ray._private import ray_constants
print("restored", ray_constants.ENABLE_RAY_CLUSTER)
"""


@pytest.mark.slow
def test_a_local_ray_listens_on_loopback_alone() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    code = [sys.executable, "-c", LISTENERS]
    done = subprocess.run(code, env=env, cwd=ROOT, capture_output=True, text=True, timeout=240)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert int(said["listening"]) >= 5, done.stderr  # GCS, raylet, agents, this process
    assert {host.removeprefix("::ffff:") for host in said["hosts"].split()} <= {"127.0.0.1", "::1"}
    assert said["restored"] == "True"
    assert done.stderr == ""
