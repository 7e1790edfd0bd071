"""A local Ray: its own, quiet, and closed to everybody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qrefine.table.table import open_table
from tests.stream.backends import KILLER
from tests.stream.heads import ROOT
from tests.support import PLAIN, encoded, photo, write_tar

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


@pytest.mark.slow
def test_the_same_command_isolates_the_sample_that_killed_a_local_run(tmp_path: Path) -> None:
    deadly = photo(size=64)
    deadly[0, 0] = KILLER
    members = [(f"{i}.png", encoded(photo(size=64 + i))) for i in range(4)]
    write_tar(tmp_path / "a.tar", [*members[:2], ("deadly.png", encoded(deadly)), *members[2:]])
    more = ["mapper.name=tests.stream.backends:DangerousMapper", "stream.retries=1", "stream.store_mb=80"]
    code = [
        sys.executable,
        "-c",
        "from qrefine.cli.app import main; main()",
        "refine",
        str(tmp_path / "a.tar"),
        str(tmp_path / "table"),
    ]
    for setting in [*PLAIN, *more]:
        code += ["--set", setting]
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = [
        subprocess.run(
            code,
            env=env | {"PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    told = [(one.returncode, "in this process" in one.stdout) for one in done]
    assert told == [(1, True), (0, False)], done[1].stdout
    rows = open_table(str(tmp_path / "table")).to_pyarrow_table(columns=["key", "error"]).to_pylist()
    assert sorted(row["key"] for row in rows) == ["0", "1", "2", "3", "deadly"]
    assert {row["key"]: row["error"] for row in rows if row["error"]} == {
        "deadly": "killed its process in each of 2 passes"
    }
