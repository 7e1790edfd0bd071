"""The log as we read and write it is the log as ``deltalake`` does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import deltalake
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.transaction import AddAction
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.errors import TableBusyError, UserError
from qrefine.storage.store import Store
from qrefine.table import checkpoint
from qrefine.table.checkpoint import retention_ms, write_checkpoint
from qrefine.table.log import Entry, Log, now_ms
from qrefine.table.parts import PartRecord
from qrefine.table.pieces import Piece
from qrefine.table.table import Table
from tests.table.parts import SCHEMA, part, rows

DAY_MS = 86_400_000


def record(name: str, first: int = 0, count: int = 2) -> PartRecord:
    """A part that is in the log alone."""
    low = {"shard": "a.tar", "index": first, "status": "kept", "quality_after": 1, "shard_version": "9-v"}
    high = low | {"index": first + count - 1, "quality_after": 0.5}
    stats = json.dumps({"numRecords": count, "minValues": low, "maxValues": high})
    ranges = ((first, first + count),)
    return PartRecord(f"qrefine-{name}.parquet", 5, "a.tar", ranges, None, "9-v", {"kept": count}, stats, {})


def make(root: Path | str, **properties: str) -> Table:
    configuration = {f"delta.{name}": value for name, value in properties.items()}
    deltalake.DeltaTable.create(str(root), SCHEMA, mode="ignore", configuration=configuration)
    return Table.open(Store.at(str(root)))


def removed(table: Table) -> set[str]:
    return {path for entry in table.log.entries() for path in entry.removes.field("path").to_pylist()}


def check_equal(table: Table) -> None:
    """What we read of the log is what ``deltalake`` reads of it."""
    delta = deltalake.DeltaTable(table.root)
    theirs = pa.table(delta.get_add_actions(flatten=True))
    ours = table.actions()
    assert table.version == delta.version()
    names = ["path", "size_bytes", "num_records"]
    if theirs.num_rows:
        names += ["min.index", "max.index", "min.shard", "max.quality_after"]

    def ordered(actions: pa.Table) -> list[dict[str, Any]]:
        return sorted(actions.select(names).to_pylist(), key=lambda row: row["path"])

    assert ordered(ours) == ordered(theirs)
    assert removed(table) == set(delta.vacuum(0, dry_run=True, enforce_retention_duration=False))
    assert dict(table.log.configuration) == delta.metadata().configuration


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["ours", "theirs", "our checkpoint", "our checkpoint in pieces", "their checkpoint", "opened"]
        ),
        st.integers(0, 3),  # parts that are added
        st.integers(0, 2),  # and removed
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(steps)
def test_any_history_is_read_as_deltalake_reads_it(history: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        table, live, count = make(root), list[str](), 0
        for kind, adds, removes in history:
            gone, live = live[:removes], live[removes:]
            new = [record(f"{count + i}", 2 * (count + i)) for i in range(adds)]
            count += adds
            if kind == "our checkpoint":
                write_checkpoint(table.log)
            elif kind == "our checkpoint in pieces":
                write_checkpoint(table.log, most=2)
            elif kind == "their checkpoint":
                deltalake.DeltaTable(root).create_checkpoint()
            if kind == "theirs":
                delta = deltalake.DeltaTable(root)
                actions = [AddAction(one.path, one.size, {}, 1, True, one.stats) for one in new]
                actions += [deltalake.transaction.RemoveAction(p, True, now_ms(), size=5) for p in gone]
                delta.create_write_transaction(actions, "append", delta.schema())
                table.log.refresh()
            else:
                table.commit(new, gone, run="r")
            live += [one.path for one in new]
            if kind == "opened":
                table = Table.open(Store.at(root))
            check_equal(table)
        check_equal(Table.open(Store.at(root)))
        assert sorted(piece.path for piece in Table.open(Store.at(root)).pieces()) == sorted(live)


def test_our_checkpoint_is_all_that_another_engine_needs(tmp_path: Path) -> None:
    table = make(tmp_path, checkpointInterval="4", appendOnly="false")
    old = part(tmp_path, rows([(0, "kept"), (1, "failed")]), "r1")
    table.commit([old], run="r")
    table.commit([part(tmp_path, rows([(0, "kept"), (1, "kept")], total=2), "r1")], [old.path], run="r")
    table.commit([part(tmp_path, rows([(0, "kept")], "b.tar"), "r1")], run="r", config="c")
    before = deltalake.DeltaTable(str(tmp_path))
    metadata, protocol = before.metadata(), before.protocol()
    for commit in (tmp_path / "_delta_log").glob("*.json"):
        commit.unlink()
    delta = deltalake.DeltaTable(str(tmp_path))
    assert delta.version() == 3
    assert delta.schema() == before.schema()
    assert (delta.metadata().id, delta.metadata().configuration) == (metadata.id, metadata.configuration)
    assert delta.protocol() == protocol
    assert delta.transaction_version("qrefine") == 3
    assert sorted(pl.read_delta(str(tmp_path))["status"].to_list()) == ["kept"] * 3
    assert delta.vacuum(0, dry_run=True, enforce_retention_duration=False) == [old.path]
    again = Table.open(Store.at(str(tmp_path)))
    check_equal(again)
    again.commit([], [piece.path for piece in again.pieces() if piece.shard == "b.tar"], run="r")
    assert pl.read_delta(str(tmp_path)).height == 2
    with pytest.raises(UserError, match="no longer has what version 1 is made of"):
        Table.open(Store.at(str(tmp_path)), 1)
    with pytest.raises(UserError, match="has versions 0 to 4, and no version 5"):
        Table.open(Store.at(str(tmp_path)), 5)


def test_a_checkpoint_leaves_out_removals_that_are_older_than_the_retention(tmp_path: Path) -> None:
    table = make(tmp_path, deletedFileRetentionDuration="interval 0 days", checkpointInterval="3")
    table.commit([record("0")], run="r")
    table.commit([], ["qrefine-0.parquet"], run="r")  # writes one
    assert removed(Table.open(Store.at(str(tmp_path)))) == set()
    check_equal(table)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval 7 days", 7 * DAY_MS),
        ("interval 1 week", 7 * DAY_MS),
        ("INTERVAL 36 HOURS", 36 * 3_600_000),
        ("interval 0 days", 0),
        ("90 seconds", 90_000),
        ("when it rains", 7 * DAY_MS),
    ],
)
def test_the_retention_is_the_tables_property(tmp_path: Path, text: str, expected: int) -> None:
    log = make(tmp_path).log
    log.metadata = {"configuration": {"delta.deletedFileRetentionDuration": text}}
    assert retention_ms(log) == expected


def test_a_checkpoint_in_pieces_is_one_and_without_a_piece_none(tmp_path: Path) -> None:
    table = make(tmp_path)
    table.commit([record(str(i), 2 * i) for i in range(5)], run="r")
    write_checkpoint(table.log)
    folder = tmp_path / "_delta_log"
    whole = pq.read_table(folder / f"{1:020d}.checkpoint.parquet")
    for number, piece in ((1, whole.slice(0, 4)), (2, whole.slice(4))):
        pq.write_table(piece, folder / f"{1:020d}.checkpoint.{number:010d}.{2:010d}.parquet")
    (folder / f"{1:020d}.checkpoint.parquet").unlink()
    commit = folder / f"{1:020d}.json"
    data = commit.read_bytes()
    commit.unlink()
    assert len(Table.open(Store.at(str(tmp_path))).pieces()) == 5
    (folder / f"{1:020d}.checkpoint.{2:010d}.{2:010d}.parquet").unlink()
    with pytest.raises(UserError, match="no longer has what version 1"):
        Table.open(Store.at(str(tmp_path)))
    commit.write_bytes(data)
    assert len(Table.open(Store.at(str(tmp_path))).pieces()) == 5


def in_pieces(root: Path, version: int) -> list[bytes]:
    return [file.read_bytes() for file in sorted(root.glob(f"_delta_log/{version:020d}.checkpoint.*.*.parquet"))]


def test_pieces_of_a_checkpoint_that_no_commit_touched_stay_as_they_are(tmp_path: Path) -> None:
    table = make(tmp_path)
    for i in range(8):
        table.commit([record(str(i), 2 * i)], run="r")
    write_checkpoint(table.log, most=2)
    first = in_pieces(tmp_path, 8)
    assert len(first) == 5
    table.commit([record("8", 16)], ["qrefine-0.parquet"], run="r")
    write_checkpoint(table.log, most=2)
    second = in_pieces(tmp_path, 9)
    # anew: what is not a part, and the piece that lost one
    assert len(set(first) & set(second)) == 3
    for commit in (tmp_path / "_delta_log").glob("*.json"):
        commit.unlink()
    again = Table.open(Store.at(str(tmp_path)))
    check_equal(again)
    assert len(again.pieces()) == 8
    assert removed(again) == {"qrefine-0.parquet"}
    again.commit([record("9", 18)], run="r")
    check_equal(again)


def test_a_writer_that_dies_among_its_pieces_leaves_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make(tmp_path, checkpointInterval="5")
    write, left = Store.write, 3

    def fail(self: Store, name: str, data: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise OSError("no space")
        write(self, name, data)

    for i in range(3):
        table.commit([record(str(i), 2 * i)], run="r")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(Store, "write", fail)
        write_checkpoint(table.log, most=1)
    assert len(in_pieces(tmp_path, 3)) == 3  # of 4
    check_equal(table)
    check_equal(Table.open(Store.at(str(tmp_path))))
    with pytest.raises(FileExistsError):  # nor does another writer mix its own with them
        write_checkpoint(table.log, most=1)
    write_checkpoint(table.log, most=2)  # of another count: these are whole
    for version in range(4):
        (tmp_path / "_delta_log" / f"{version:020d}.json").unlink()
    check_equal(Table.open(Store.at(str(tmp_path))))


def test_what_a_kill_leaves_in_the_logs_folder_is_no_version(tmp_path: Path) -> None:
    table = make(tmp_path)
    table.commit([record("0")], run="r")
    folder = tmp_path / "_delta_log"
    (folder / f"{2:020d}.json.0123abcd").write_bytes(b'{"add":')
    (folder / f"{1:020d}.checkpoint.parquet.0123abcd").write_bytes(b"PAR1")
    check_equal(Table.open(Store.at(str(tmp_path))))
    assert Table.open(Store.at(str(tmp_path))).version == 1


def test_a_checkpoint_that_cannot_be_written_stops_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(log: Log) -> None:
        raise OSError("no space")

    table = make(tmp_path, checkpointInterval="2")
    with monkeypatch.context() as patch:
        patch.setattr("qrefine.table.table.write_checkpoint", fail)
        table.commit([record("0")], run="r")
    assert table.log.checkpoint is None
    table.commit([record("1", 2)], run="r")
    assert table.log.checkpoint == 2
    check_equal(table)


def test_commits_of_other_engines_that_ours_must_not_follow(tmp_path: Path) -> None:
    table, late, later = make(tmp_path), *(Table.open(Store.at(str(make(tmp_path).root))) for _ in range(2))
    old = part(tmp_path, rows([(0, "kept")]), "r1")
    table.commit([old], run="r")
    late, later = (Table.open(Store.at(str(tmp_path))) for _ in range(2))
    delta = deltalake.DeltaTable(str(tmp_path))
    delta.delete()
    with pytest.raises(TableBusyError, match="it removed the same parts"):
        late.commit([], [old.path], run="r")
    deltalake.DeltaTable(str(tmp_path)).alter.set_table_properties({"delta.checkpointInterval": "7"})
    with pytest.raises(TableBusyError, match="it altered the table"):
        later.commit([record("0")], run="r")


@pytest.mark.parametrize(
    "protocol",
    [
        {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"],
            "writerFeatures": [],
        },
        {"minReaderVersion": 2, "minWriterVersion": 5},
        {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]},
    ],
)
def test_a_table_of_features_that_we_do_not_know_is_refused(tmp_path: Path, protocol: dict[str, Any]) -> None:
    make(tmp_path)
    line = json.dumps({"protocol": protocol})
    (tmp_path / "_delta_log" / f"{1:020d}.json").write_text(line + "\n")
    with pytest.raises(UserError, match="with features that qrefine does not write"):
        Table.open(Store.at(str(tmp_path)))


def test_a_part_without_statistics_is_opened(tmp_path: Path) -> None:
    table = make(tmp_path)
    one = part(tmp_path, rows([(0, "kept"), (2, "failed")], total=3), "r1")
    line = {"add": {**one.add_action(0), "stats": None, "tags": {"a": "b"}}}
    (tmp_path / "_delta_log" / f"{1:020d}.json").write_text(json.dumps(line) + "\n\n")
    (piece,) = Table.open(table.store).pieces()
    assert piece == Piece(
        one.path, one.size, "a.tar", "9-v", 2, 0, 2, 3, True, piece.worst, piece.configs
    )  # fmt: skip
    write_checkpoint((again := Table.open(table.store)).log)
    assert Table.open(table.store).pieces() == again.pieces() == [piece]


def test_a_commit_of_long_and_strange_lines_is_read(tmp_path: Path) -> None:
    data = json.dumps({"commitInfo": {"qrefine": {"text": "\u2028" + "x" * (3 << 20)}}}, ensure_ascii=False)
    entry = Entry.parse(f'{data}\r\n\n{{"txn": {{"appId": "a", "version": 3, "more": [1]}}}}\n'.encode())
    assert [txn["version"] for txn in entry.find("txn")] == [3]
    assert len(entry.adds) == len(entry.removes) == 0
    assert checkpoint.EVERY == 100
