"""The report of a table of 200,000 rows: in under a minute, under 1 GB, under 15 MB."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.report.tables import synthetic_table

SCRIPT = """
import json, resource, sys
from qrefine.report.page import write_report
size = write_report(sys.argv[1], sys.argv[2])
print(json.dumps([size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_report_of_200_000_rows(tmp_path: Path) -> None:
    table = synthetic_table(tmp_path / "table", shards=200, rows=1000, part_rows=32)
    started = time.monotonic()
    command = [sys.executable, "-c", SCRIPT, str(table), str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - started
    size, memory = json.loads(done.stdout)
    print(f"{seconds:.1f} s, {memory / 1e6:.0f} MB of memory, {size / 1e6:.2f} MB of HTML")
    assert seconds < 60
    assert memory < 1e9
    assert size < 15e6
