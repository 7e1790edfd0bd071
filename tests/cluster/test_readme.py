"""cluster/README.md: its commands run, where they can run here; its tables agree with what they are made of."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.manifests import FOLDER, documents
from tests.cluster.schema import errors
from tests.support import write_shards

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)]
(REHEARSAL,) = [block for block in BLOCKS if "ray start --head --num-cpus=2 --dashboard-host=127.0.0.1" in block]
ELSEWHERE = re.compile(
    r"^(docker|helm|kubectl|ray (up|down|exec) |ray job submit --address|export \S+ \S+kubectl)"
)
BY_TESTS = re.compile(
    r"^(sed -i|promtool check config|prometheus --config|export RAY_AUTH_MODE=token RAY_AUTH_TOKEN)"
)


def test_every_command_runs_here_or_needs_what_is_not_here() -> None:
    for block in BLOCKS:
        for line in block:
            known = block is REHEARSAL or ELSEWHERE.match(line) or BY_TESTS.match(line)
            assert known or line == "ray get-auth-token --generate", line


def test_from_nothing_to_the_first_shard_takes_ten_commands() -> None:
    (first, *_) = BLOCKS
    assert len(first) == 10
    for line in first:
        for path in re.findall(r"cluster/[\w./*-]+", line):
            assert list(ROOT.glob(path)), path


def test_the_manifests_are_made_yours_by_one_command(tmp_path: Path) -> None:
    """The README's sed, on a copy."""
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster")
    (line,) = [line for line in BLOCKS[0] if line.startswith("sed")]
    environment = {**os.environ, "IMAGE": "registry.example.org/team/qrefine:1", "BUCKET": "corpus"}
    subprocess.run(["bash", "-ec", line], cwd=tmp_path, env=environment, check=True, timeout=30)
    text = ""
    for path in FOLDER.rglob("*.yaml"):
        copied = tmp_path / "cluster" / "kuberay" / path.relative_to(FOLDER)
        text += copied.read_text(encoding="utf-8")
        if path.name not in ("kustomization.yaml", "settings.yaml"):
            assert [error for document in documents(copied) for error in errors(document)] == []
    assert text.count("image: registry.example.org/team/qrefine:1\n") == 12
    assert "s3://corpus/raw/*.tar" in text
    assert "s3://bucket" not in text


def test_the_table_of_gpus_follows_from_what_is_said_above_it() -> None:
    (work,) = re.findall(r"VAE, (\d+) TFLOP in all; 40 %", TEXT)
    rows = re.findall(
        r"^\| [^|]+\| \S+(?: / 8)? \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", TEXT, re.MULTILINE
    )
    assert len(rows) == 5
    for peak, regions, price, cost in rows:
        per_hour = 3600 * 0.4 * float(peak) / float(work)
        assert round(per_hour) == int(regions)
        assert round(1000 * float(price) / per_hour, 2) == float(cost)


def test_the_diagnosis_table_has_its_rows() -> None:
    table = TEXT.partition("## Diagnosis")[2]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 12
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str], str]]:
    """A clone's folder with shards, an environment of its own, and flags that keep a head apart from others.

    What is started here is ended by its process group: `ray stop` would end every Ray of this machine.
    """
    folder = tmp_path_factory.mktemp("r")
    temporary = Path(os.environ.get("TMPDIR", "/tmp")) / f"qrr{os.getpid()}x"  # sockets want short paths
    for name in ("jobs", "qrefine", "cluster"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "shards").mkdir()
    write_shards(folder / "shards", shards=2, samples=3)
    gcs, board, listen, grpc, runtime, metrics, client = free_ports(7)
    flags = (
        f"--port={gcs} --dashboard-port={board} --dashboard-agent-listen-port={listen}"
        f" --dashboard-agent-grpc-port={grpc} --runtime-env-agent-port={runtime} --metrics-export-port={metrics}"
        f" --ray-client-server-port={client} --temp-dir={temporary} --object-store-memory=100000000"
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "180",  # machines that run tests are busy
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{board}",
        "HEAD": f"127.0.0.1:{gcs}",
    }
    yield folder, environment, flags
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(temporary) in (process / "cmdline").read_text().replace("\0", " "):
                os.kill(int(process.name), signal.SIGKILL)
    time.sleep(1)
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_rehearsal_runs_as_it_stands(place: tuple[Path, dict[str, str], str]) -> None:
    folder, environment, flags = place
    assert REHEARSAL[0] == "export RAY_AUTH_MODE=token"
    environment["RAY_AUTH_MODE"] = "token"
    said: dict[str, str] = {}
    for line in REHEARSAL[1:]:
        if line == "ray stop":
            continue
        command = f"{line} {flags}" if line.startswith("ray start") else line
        address = {} if line.startswith("ray start") else {"RAY_ADDRESS": environment["HEAD"]}
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=folder,
            env={**environment, **address},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}"
        said[" ".join(shlex.split(line)[:3])] = done.stdout
    assert "the cluster asks for a token" in said["qrefine doctor --cluster"]
    assert "nothing to do: all 2 shards" in said["ray job submit"]  # the second job found the first one's rows
    assert said["ray job list"].count("status=<JobStatus.SUCCEEDED") == 2
    import polars as pl

    assert pl.read_delta(str(folder / "refined")).select("shard", "index").is_unique().all()
    submitted = subprocess.run(
        ["ray", "job", "submit", "--", "true"],
        env={**environment, "RAY_AUTH_MODE": "disabled", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert submitted.returncode != 0
    assert "Unauthorized" in submitted.stdout + submitted.stderr


def test_settings_of_the_manifests_are_the_readmes() -> None:
    settings = yaml.safe_load((FOLDER / "settings.yaml").read_text(encoding="utf-8"))
    assert settings["inpaint"]["options"]["steps"] * settings["inpaint"]["strength"] == 18
    assert "18 steps" in TEXT
