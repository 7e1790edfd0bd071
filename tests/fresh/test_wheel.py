"""The wheel in an empty environment, without extras: nothing that only development brings is needed."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support import PLAIN, write_shards

ROOT = Path(__file__).parents[2]


def run(*command: object, folder: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_refine_and_report_run_from_the_wheel_alone(tmp_path: Path) -> None:
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        tmp_path,
        ROOT,
        folder=tmp_path,
    )
    [wheel] = tmp_path.glob("qrefine-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / "bin"
    pip = (bin / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
    run(*pip, "torch", folder=tmp_path)
    run(*pip, wheel, folder=tmp_path)
    run(bin / "pip", "check", folder=tmp_path)
    [shard] = write_shards(tmp_path, shards=1, samples=3)
    settings = [part for setting in PLAIN for part in ("--set", setting)]
    run(bin / "qrefine", "refine", shard, "table", *settings, folder=tmp_path)
    run(bin / "qrefine", "report", "table", "--output", "report.html", folder=tmp_path)
    assert "<html" in (tmp_path / "report.html").read_text()
