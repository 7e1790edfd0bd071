"""A table of a million rows: how long a resume takes until it knows what to do, and in how much memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from qrefine.config import RefineConfig
from qrefine.sample import Sample
from qrefine.storage.store import Store, canonical
from qrefine.table.parts import write_part
from qrefine.table.schema import make_row, table_schema
from qrefine.table.table import Table
from tests.support import encoded, photo, write_tar

SHARDS, ROWS, PART_ROWS = 1000, 1000, 32
SHARDS_IN_A_COMMIT = 10
SCRIPT = """
import json, resource, sys, time
from qrefine.api import refine
from qrefine.config import load_config
from qrefine.work.local import LocalExecutor
from tests.work.runs import STUB

class Telling(LocalExecutor):
    def run(self, plans, target, *, alone=False):
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps([len(plans), time.time(), memory]))
        return super().run(plans, target, alone=alone)

refine(sys.argv[1:2], sys.argv[2], load_config(None, STUB), choose=lambda size: Telling(1))
"""


def write_table(folder: Path, corpus: Path) -> None:
    """A million rows of tiny images as a run leaves them; the corpus has one shard that is not in it."""
    config = RefineConfig(judges=())
    schema = table_schema(())
    image = encoded(photo(size=16))
    rows = [
        make_row(
            Sample(
                index=i,
                key=f"{i:06d}",
                source=image,
                image_count=1,
                prompt=f"prompt {i}",
                shard_rows=ROWS if i == ROWS - 1 else None,
                size=(16, 16),
            ),
            config,
            "run",
        )
        for i in range(ROWS)
    ]
    template = pa.Table.from_pylist(rows, schema=schema)
    table = Table.open_or_create(Store.at(str(folder)), schema)
    corpus.mkdir()
    records = []
    for shard in range(SHARDS + 1):
        path = write_tar(corpus / f"{shard:06d}.tar", [("a.png", image)])
        if shard < SHARDS:
            url = pa.array([canonical(str(path))] * ROWS)
            named = template.set_column(schema.get_field_index("shard"), schema.field("shard"), url)
            slices = [named.slice(start, PART_ROWS) for start in range(0, ROWS, PART_ROWS)]
            records += [write_part(table.store, [rows], "run") for rows in slices]
        if shard % SHARDS_IN_A_COMMIT == 0 or shard == SHARDS:
            table.commit(records, run="run", config=config.digest)
            records = []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_resume_of_a_million_rows_knows_what_to_do_in_20_seconds_and_1_gb(tmp_path: Path) -> None:
    write_table(tmp_path / "table", tmp_path / "corpus")
    started = time.time()
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "corpus"), str(tmp_path / "table")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    planned, ended, memory = json.loads(done.stdout.splitlines()[0])
    print(f"{ended - started:.1f} s from the process' start to its plan, {memory / 1e6:.0f} MB")
    assert planned == 1
    assert ended - started < 20
    assert memory < 1e9
    assert Table.open(Store.at(str(tmp_path / "table"))).ledger().row_count == SHARDS * ROWS + 1
