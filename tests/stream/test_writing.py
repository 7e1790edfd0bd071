"""The end of the stream: records of parts as rows, and a lost store as data instead of an error."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qrefine.config import RefineConfig
from qrefine.errors import BrokenRunError
from qrefine.sample import Sample
from qrefine.storage.store import Store
from qrefine.stream.pipeline import records
from qrefine.stream.writing import write_block
from qrefine.table.parts import PartRecord
from qrefine.work.border import to_arrow
from qrefine.work.write import Target

SAMPLES = [
    Sample("a.tar", 0, "k0", b"source", 1),
    Sample("a.tar", 1, "k1", None, 0, error="no image member"),
    Sample("b.tar", 0, "k0", b"source", 1, shard_rows=1),
]


def test_a_block_becomes_a_part_for_each_shard(tmp_path: Path, plain: RefineConfig) -> None:
    told = write_block(to_arrow(SAMPLES), Target(plain, Store.at(str(tmp_path)), "run"))
    assert told["broken"].null_count == len(told) == 2
    parts = [PartRecord.from_json(text) for text in told["record"].to_pylist()]
    assert [(part.shard, part.rows, part.shard_rows) for part in parts] == [
        ("a.tar", ((0, 2),), None),
        ("b.tar", ((0, 1),), 1),
    ]
    assert all((tmp_path / part.path).stat().st_size == part.size for part in parts)


def test_with_a_reason_all_fail_and_an_earlier_error_stands(tmp_path: Path, plain: RefineConfig) -> None:
    told = write_block(to_arrow(SAMPLES[:2]), Target(plain, Store.at(str(tmp_path)), "run"), "killed its process")
    record = PartRecord.from_json(told["record"][0].as_py())
    rows = pq.read_table(tmp_path / record.path).to_pylist()
    assert [row["error"] for row in rows] == ["killed its process", "no image member"]
    assert [row["image"] for row in rows] == [None, None]
    assert record.statuses == {"failed": 2}


def test_a_store_that_is_lost_is_told_and_raised_by_the_driver(tmp_path: Path, plain: RefineConfig) -> None:
    (tmp_path / "file").write_bytes(b"")
    told = write_block(to_arrow(SAMPLES), Target(plain, Store.at(str(tmp_path / "file")), "run"))
    (row,) = told.to_pylist()
    assert row["record"] is None
    assert row["broken"].startswith(f"cannot use {tmp_path}/file: ")

    class Stream:
        def iter_batches(self, **_: object) -> list[object]:
            return [told]

    with pytest.raises(BrokenRunError, match="cannot use"):
        list(records(Stream()))  # type: ignore[arg-type]
