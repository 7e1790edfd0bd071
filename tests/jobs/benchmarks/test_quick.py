"""`make bench-quick` in miniature: it prints its six figures, whatever they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import quick
from benchmarks.options import Options

ROOT = Path(__file__).parents[3]


def named(tmp_path, measure):
    figures = measure(Options(tmp_path, tiny=True))
    assert all(figure.value > 0 for figure in figures)
    return [figure.name for figure in figures]


def test_it_measures_the_start_and_the_table_in_miniature(tmp_path):
    assert named(tmp_path, quick.start) == ["start to finish of one image"]
    assert named(tmp_path, quick.table) == ["commit to a table of 1e+04 rows", "memory of planning its resume"]


def test_make_runs_it():
    assert "\nbench-quick: setup\n\t$(BIN)/python jobs/bench.py quick\n" in (ROOT / "Makefile").read_text()


@pytest.mark.slow
def test_it_prints_all_six():
    command = [sys.executable, "jobs/bench.py", "quick", "--tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    for name in ("scoring /", "refining /", "one image", "1 logical GPU", "commit to", "memory of"):
        assert name in said
