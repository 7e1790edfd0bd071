"""Tables that are older than some columns: read as they are, and brought up by a run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import deltalake
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, CommitProperties, Transaction

from qrefine.storage.store import Store
from qrefine.table.checkpoint import write_checkpoint
from qrefine.table.ledger import Rows
from qrefine.table.merge import Source, merge_parts
from qrefine.table.schema import ADDED, with_added
from qrefine.table.table import Table
from tests.table.parts import SCHEMA, delta_rows, part, rows


def old_table(root: Path) -> Table:
    """A table whose schema and one part know nothing of the columns that were added."""
    schema = SCHEMA
    for name in ADDED:
        schema = schema.remove(schema.get_field_index(name))
    table = Table.open_or_create(Store.at(str(root)), schema)
    record = part(table.root, rows([(0, "kept"), (2, "refined")]).drop_columns(list(ADDED)), "r0")
    table.commit([record], run="r0", config="c")
    return table


def test_an_old_table_opens_and_gets_its_columns_by_a_commit_that_touches_no_part(tmp_path: Path) -> None:
    old_table(tmp_path)
    table = Table.open_or_create(Store.at(str(tmp_path)), SCHEMA)
    before = table.part_names()
    assert table.add_columns() == list(ADDED)
    assert table.add_columns() == []
    assert table.part_names() == before
    new = part(table.root, rows([(1, "kept")]), "r1")
    table.commit([new], run="r1", config="c")
    found = delta_rows(tmp_path).sort_by("index")
    assert found["decision"].to_pylist() == [None, "nothing_to_do", None]
    assert Table.open(Store.at(str(tmp_path))).ledger().row_count == 3


def test_parts_of_both_kinds_are_merged(tmp_path: Path) -> None:
    table = old_table(tmp_path)
    (old,) = table.part_names()
    new = part(table.root, rows([(1, "kept")]), "r1")
    sources = [Source.of(old, "a.tar", Rows([0, 2])), Source.of(new.path, "a.tar", Rows([1]))]
    (merged,) = merge_parts(table.store, sources, "r2", 1 << 20)
    found = pq.read_table(tmp_path / merged.path)
    assert found["index"].to_pylist() == [0, 1, 2]
    assert found["decision"].to_pylist() == [None, "nothing_to_do", None]
    assert found.column_names == with_added(found).column_names


def small_parts(root: Path, shards: int, parts: int) -> Table:
    """A table of an earlier release: many parts of two rows, committed and checkpointed by ``deltalake``."""
    Table.open_or_create(Store.at(str(root)), SCHEMA)
    adds = []
    for shard in range(shards):
        for number in range(parts - (shard == 0)):  # the first shard lacks its last part
            last = number == parts - 1
            low = {"shard": f"{shard}.tar", "index": 2 * number, "status": "kept", "shard_version": "9-v"}
            low |= {"config": "c"} | ({"shard_rows": 2 * parts} if last else {})
            stats = {"numRecords": 2, "minValues": low, "maxValues": low | {"index": 2 * number + 1}}
            adds.append(AddAction(f"qrefine-old-{shard}-{number}.parquet", 9, {}, 1, True, json.dumps(stats)))
    delta = deltalake.DeltaTable(str(root))
    delta.create_write_transaction(
        adds,
        "append",
        delta.schema(),
        commit_properties=CommitProperties(app_transactions=[Transaction("qrefine", 1)]),
    )
    deltalake.DeltaTable(str(root)).create_checkpoint()
    return Table.open(Store.at(str(root)))


def test_a_table_of_many_small_parts_goes_on_at_the_price_of_a_new_one(tmp_path: Path) -> None:
    old, new = small_parts(tmp_path / "old", 200, 100), small_parts(tmp_path / "new", 2, 2)
    ledger = old.ledger()
    assert [shard for shard in ledger.shards if not ledger.complete(shard)] == ["0.tar"]
    assert ledger.state("0.tar").rows.ranges == ((0, 198),)

    def commit(table: Table, number: int) -> float:
        made = part(table.root, rows([(0, "kept")], f"new-{number}.tar", total=1), "r1")
        began = time.perf_counter()
        table.commit([made], run="r1")
        return time.perf_counter() - began

    dear, cheap = (min(commit(table, number) for number in range(10)) for table in (old, new))
    assert dear < 5 * cheap  # deltalake's own would take 80 times as long
    missing = part(old.root, rows([(198, "kept"), (199, "kept")], "0.tar", total=200), "r1")
    old.commit([missing], run="r1")
    write_checkpoint(old.log, most=5000)
    again = Table.open(old.store)
    ledger = again.ledger()
    assert all(ledger.complete(shard) for shard in ledger.shards)
    assert len(again.pieces()) == deltalake.DeltaTable(old.root).get_add_actions().num_rows == 200 * 100 + 10
