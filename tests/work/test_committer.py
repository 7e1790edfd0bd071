from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from qrefine.config import RefineConfig
from qrefine.errors import TableBusyError
from qrefine.sample import Sample
from qrefine.storage.store import Store
from qrefine.table.lease import Lease
from qrefine.table.parts import PartRecord, write_part
from qrefine.table.schema import make_row, table_schema
from qrefine.table.table import Table
from qrefine.work.committer import SHARE, Commit, Committer
from qrefine.work.progress import Totals

CONFIG = RefineConfig()
SCHEMA = table_schema(CONFIG.judges)


def part(store: Store, indexes: list[int], total: int | None = None) -> PartRecord:
    rows = [
        make_row(Sample("s.tar", i, f"k{i}", b"x", shard_rows=total, size=(1, 1)), CONFIG, "run") for i in indexes
    ]
    return write_part(store, [pa.Table.from_pylist(rows, schema=SCHEMA)], "run")


def commit_to(table: Table, **metadata: str) -> Commit:
    return lambda records: table.commit(records, **metadata)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table.open_or_create(Store.at(str(tmp_path / "t")), SCHEMA)


def test_everything_is_committed_on_leaving_even_when_the_stream_broke(table: Table) -> None:
    totals = Totals(shards=1)
    with (
        Lease(table.store, "run") as lease,
        pytest.raises(RuntimeError, match="stream"),
        Committer(commit_to(table, config="c"), table.ledger(), totals, lease, 3600.0) as committer,
    ):
        committer.add(part(table.store, [0, 1]))
        raise RuntimeError("the stream broke")
    assert Table.open(table.store).ledger().state("s.tar").rows.ranges == ((0, 2),)
    assert totals.samples == 2
    assert Table.open(table.store).last_config() == "c"


def test_rows_that_are_there_already_are_not_committed_again(table: Table) -> None:
    with (
        Lease(table.store, "run") as lease,
        Committer(commit_to(table), table.ledger(), totals := Totals(shards=1), lease, 3600.0) as committer,
    ):
        committer.add(part(table.store, [0, 1, 2]))
        committer.flush()
        committer.add(part(table.store, [2, 3], total=4))
        committer.add(part(table.store, [3], total=4))
    assert sorted(table.delta.to_pyarrow_table(columns=["index"])["index"].to_pylist()) == [0, 1, 2, 3]
    assert totals.shards_done == 1


def test_a_run_that_lost_its_lease_commits_nothing_more(table: Table) -> None:
    lease = Lease(table.store, "first")
    with (
        pytest.raises(TableBusyError, match="another run took"),
        lease,
        Committer(commit_to(table), table.ledger(), Totals(shards=1), lease, 3600.0) as committer,
    ):
        successor = Path(table.store.url) / "_qrefine" / "lease-00000099.json"
        successor.write_text("{}")
        committer.add(part(table.store, [0]))
        committer.flush()
    assert Table.open(table.store).ledger().row_count == 0


def test_commits_take_no_more_than_a_tenth_of_the_time_however_dear_they_are(table: Table) -> None:
    began, prices = time.monotonic(), itertools.cycle((0.1, 0.02, 0.06))
    spent = list[tuple[float, float]]()  # when a commit began, and what it took

    def dear(records: list[PartRecord]) -> None:
        start = time.monotonic()
        time.sleep(next(prices))
        spent.append((start, time.monotonic() - start))

    with (
        Lease(table.store, "run") as lease,
        Committer(dear, table.ledger(), Totals(shards=1), lease, 0.01) as committer,
    ):
        one = part(table.store, [0])
        for number in itertools.count():
            if time.monotonic() - began > 2.6:
                break
            committer.add(replace(one, rows=((number, number + 1),)))
            time.sleep(0.005)
    *going, last = spent[:-1]  # the very last is on leaving
    assert len(going) >= 3
    assert sum(took for _, took in going) <= SHARE * (last[0] - going[0][0])


def test_with_nothing_to_commit_it_sleeps(table: Table) -> None:
    with (
        Lease(table.store, "run") as lease,
        Committer(commit_to(table), table.ledger(), Totals(shards=1), lease, 0.0) as committer,
    ):
        committer.add(part(table.store, [0], 2))
        committer.flush()
        began = time.process_time()
        time.sleep(0.6)
        assert time.process_time() - began < 0.3  # it took all of a core
        committer.add(part(table.store, [1], 2))
        committer.flush()
        assert len(table.pieces()) == 2
