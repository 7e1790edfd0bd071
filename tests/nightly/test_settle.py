"""Which result stays where rows were done again: against a model with dictionaries."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrefine.nightly.changes import AgainRows
from qrefine.nightly.settle import MergeJob, run_merge
from qrefine.storage.store import Store
from qrefine.table.ledger import Rows
from qrefine.table.parts import PartRecord
from tests.table.parts import part, rows

STATUS = st.sampled_from(["kept", "refined", "failed"])  # kept: q is 0.625; refined: q is 1


def settle(root: Path, job: MergeJob) -> tuple[list[dict], dict[str, int], tuple[str, ...]]:
    """The shard's rows after the job, as the commit would leave them; the counts; the new parts."""
    entry = run_merge(Store.at(str(root)), job, "r9", 1 << 20)
    live = {*job.old, *job.new} - set(entry.sources) | {record.path for record in entry.records}
    found = [row for path in live for row in pq.read_table(root / path).to_pylist()]
    return sorted(found, key=lambda r: r["index"]), entry.counts, tuple(record.path for record in entry.records)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    old=st.lists(STATUS, min_size=1, max_size=8),
    new=st.dictionaries(st.integers(0, 7), STATUS, min_size=1),
    contested=st.sets(st.integers(0, 7)),
    cut=st.integers(0, 8),
    all_of_it=st.booleans(),
)
def test_each_row_is_the_one_that_the_rules_say(
    tmp_path: Path, old: list[str], new: dict[int, str], contested: set[int], cut: int, all_of_it: bool
) -> None:
    new = {index: status for index, status in new.items() if index < len(old)}
    halves = [list(enumerate(old))[:cut], list(enumerate(old))[cut:]]
    old_parts = [part(tmp_path, rows(half, run="old")) for half in halves if half]
    new_parts = [part(tmp_path, rows(sorted(new.items()), run="new"))] if new else []
    again = AgainRows(Rows(new), Rows(contested & new.keys()))
    job = MergeJob("a.tar", "9-v", paths(old_parts), paths(new_parts), again, all_of_it)
    found, counts, written = settle(tmp_path, job)
    score = {"failed": 0.0, "kept": 0.625, "refined": 1.0}

    def wins(index: int) -> bool:
        if new[index] == "failed":
            return False  # of the same index it fails with the same words
        return old[index] == "failed" or index not in contested or score[new[index]] > score[old[index]]

    expected = [(i, "new" if i in new and wins(i) else "old") for i in range(len(old))]
    assert [(row["index"], row["run"]) for row in found] == expected
    source = {("old", i): row for i, row in enumerate(rows(list(enumerate(old)), run="old").to_pylist())}
    source |= {("new", row["index"]): row for row in rows(sorted(new.items()), run="new").to_pylist()}
    assert found == [source[run, i] for i, run in expected]
    assert sum(counts.values()) == len(new)
    if not all_of_it and not any(run == "new" for _, run in expected):
        assert written == ()


def paths(records: list[PartRecord]) -> tuple[str, ...]:
    return tuple(record.path for record in records)


def test_whole_parts_are_exchanged_without_being_written_anew(tmp_path: Path) -> None:
    old = part(tmp_path, rows([(0, "failed"), (1, "failed")], run="old"))
    new = part(tmp_path, rows([(0, "kept"), (1, "kept")], run="new"))
    job = MergeJob("a.tar", "9-v", (old.path,), (new.path,), AgainRows(Rows([0, 1])))
    found, counts, written = settle(tmp_path, job)
    assert [row["run"] for row in found] == ["new", "new"]
    assert (counts["replaced"], written) == (2, ())


@pytest.mark.parametrize("new_total", [3, 4])
def test_damage_that_a_second_reading_does_not_meet_is_gone(tmp_path: Path, new_total: int) -> None:
    """The row behind a shard's end goes; what a longer reading finds comes."""
    old = part(tmp_path, rows([(0, "kept"), (1, "kept"), (2, "kept"), (3, "failed")], total=4, run="old"))
    fresh = rows([(i, "kept") for i in range(2, new_total)], total=new_total, run="new")
    job = MergeJob("a.tar", "9-v", (old.path,), (part(tmp_path, fresh).path,), AgainRows(Rows([2, 3])))
    found, _, _ = settle(tmp_path, job)
    assert [row["index"] for row in found] == list(range(new_total))
    assert [row["shard_rows"] for row in found] == [None] * (new_total - 1) + [new_total]


def test_a_row_without_a_new_result_stays(tmp_path: Path) -> None:
    old = part(tmp_path, rows([(0, "kept"), (1, "kept")], total=2, run="old"))
    new = part(tmp_path, rows([(0, "refined")], run="new"))
    job = MergeJob("a.tar", "9-v", (old.path,), (new.path,), AgainRows(Rows([0, 1])))
    assert [row["run"] for row in settle(tmp_path, job)[0]] == ["new", "old"]


def test_rows_of_other_shards_in_the_same_part_are_left_to_their_own_job(tmp_path: Path) -> None:
    both = pa.concat_tables([rows([(0, "kept")], "a.tar"), rows([(0, "kept"), (1, "kept")], "b.tar", 2)])
    pq.write_table(both, tmp_path / "part-0.parquet")
    job = MergeJob("b.tar", "9-v", ("part-0.parquet",), all_of_it=True)
    entry = run_merge(Store.at(str(tmp_path)), job, "r", 1 << 20)
    assert [(record.shard, record.rows) for record in entry.records] == [("b.tar", ((0, 2),))]
    assert entry.sources == ("part-0.parquet",)
