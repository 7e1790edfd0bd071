"""The Dockerfile, through hadolint; what it copies is there and gets through its ignore file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster" / "Dockerfile"
TEXT = FILE.read_text(encoding="utf-8")
HADOLINT = Path(sys.executable).with_name("hadolint")


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", path], capture_output=True, text=True, timeout=60)


def test_the_linter_has_nothing_to_say() -> None:
    done = hadolint(FILE)
    assert done.returncode == 0, done.stdout


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(TEXT.replace("USER 1000", "USER root").replace("--no-cache-dir ", ""))
    done = hadolint(tmp_path / "Dockerfile")
    assert done.returncode == 1
    assert {"DL3002", "DL3042"} <= set(re.findall(r"DL\d+", done.stdout))


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = FILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignore if line.startswith("!")}
    sources = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for source in line.split()[:-1]
        if not source.startswith("--")
    }
    assert sources == let_through
    assert all((ROOT / source).exists() for source in sources)


def test_python_is_one_that_the_package_wants() -> None:
    (minor,) = re.findall(r"^FROM python:3\.(\d+)-", TEXT, re.MULTILINE)
    wants = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert wants
    assert int(wants[1]) <= int(minor) < int(wants[2])


def test_extras_are_those_of_the_package() -> None:
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)", TEXT, re.MULTILINE)
    known = re.findall(r"^([a-z0-9]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(extras.split(",")) <= set(known)
    assert "pyiqa" not in extras  # its licence is non-commercial


def test_the_last_stage_runs_as_nobody_in_particular_and_asks_for_a_token() -> None:
    assert re.findall(r"^USER (\S+)", TEXT, re.MULTILINE) == ["1000"]
    assert "RAY_AUTH_MODE=token" in TEXT
    assert TEXT.rstrip().splitlines()[-1] == "FROM lean"
