"""The journal of a run that commits once."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrefine.storage.store import Store
from qrefine.table.journal import Entry, Journal, journal_parts
from qrefine.table.parts import PartRecord
from tests.table.parts import part, rows


def record(root: Path, index: int, shard: str = "a.tar") -> PartRecord:
    return part(root, rows([(index, "kept")], shard=shard))


def opened(root: Path, run: str, version: int = 3, plan: str = "p") -> Journal:
    return Journal(Store.at(str(root)), version, plan, run, lambda: {path.name for path in root.glob("*.parquet")})


def entry(*records: PartRecord, sources: tuple[str, ...] = ()) -> Entry:
    return Entry(records[0].shard, "9-v", records, sources, {"replaced": len(sources)})


def test_what_one_run_staged_the_next_takes_up(tmp_path: Path) -> None:
    first = opened(tmp_path, "20260101-a")
    entries = [entry(record(tmp_path, i)) for i in range(3)]
    first.add(entries[:2])
    first.add(entries[2:])
    first.add([])
    second = opened(tmp_path, "20260102-b")
    second.resume(lambda entry: True)
    assert second.entries == entries
    merged = entry(record(tmp_path, 9), sources=(entries[0].records[0].path, "committed.parquet"))
    second.add([merged])
    third = opened(tmp_path, "20260103-c")
    third.resume(lambda entry: True)
    assert third.records() == [*entries[1].records, *entries[2].records, *merged.records]
    assert third.superseded == {entries[0].records[0].path, "committed.parquet"}


def test_what_is_not_valid_or_not_there_stays_out_with_what_was_made_of_it(tmp_path: Path) -> None:
    records = [record(tmp_path, i, f"{i}.tar") for i in range(4)]
    entries = [entry(one) for one in records[:3]]
    entries.append(entry(records[3], sources=(records[0].path,)))
    opened(tmp_path, "a").add(entries)
    (tmp_path / records[0].path).unlink()
    later = opened(tmp_path, "b")
    later.resume(lambda entry: entry.shard != "1.tar")
    assert later.entries == [entries[2]]


def test_journals_are_apart_by_version_and_plan(tmp_path: Path) -> None:
    opened(tmp_path, "a").add([entry(record(tmp_path, 0))])
    for other in (opened(tmp_path, "b", plan="q"), opened(tmp_path, "b", version=4)):
        other.resume(lambda entry: True)
        assert other.entries == []


def test_parts_of_this_version_are_known_and_older_journals_go(tmp_path: Path) -> None:
    old, new = record(tmp_path, 0), record(tmp_path, 1)
    opened(tmp_path, "a", version=2).add([entry(old)])
    opened(tmp_path, "b", version=3).add([entry(new)])
    assert journal_parts(Store.at(str(tmp_path)), 3) == {new.path}
    assert journal_parts(Store.at(str(tmp_path)), 2) == set()
    assert journal_parts(Store.at(str(tmp_path / "nowhere")), 3) == set()


def test_a_journal_is_written_once_and_discarded_whole(tmp_path: Path) -> None:
    journal = opened(tmp_path, "a")
    journal.add([entry(record(tmp_path, 0))])
    with pytest.raises(FileExistsError):
        opened(tmp_path, "a").add([entry(record(tmp_path, 1))])
    journal.discard()
    assert list((tmp_path / "_qrefine").iterdir()) == []
    journal.discard()
