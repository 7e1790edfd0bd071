"""The ledger against Python's sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qrefine.table.ledger import Ledger, Rows

INDEXES = st.sets(st.integers(0, 40))


@given(INDEXES)
def test_rows_are_a_set_of_indexes(indexes: set[int]) -> None:
    rows = Rows(indexes)
    assert len(rows) == len(indexes)
    assert [i for i in range(-1, 45) if i in rows] == sorted(indexes)
    assert {i for start, end in rows.ranges for i in range(start, end)} == indexes


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40))))
def test_ranges_are_joined_ascending_and_apart(ranges: list[tuple[int, int]]) -> None:
    rows = Rows.from_ranges(ranges)
    assert {i for start, end in rows.ranges for i in range(start, end)} == {
        i for a, b in ranges for i in range(a, b)
    }
    assert all(start < end for start, end in rows.ranges)
    assert all(a[1] < b[0] for a, b in zip(rows.ranges, rows.ranges[1:], strict=False))


@given(INDEXES, INDEXES)
def test_union_and_overlap_are_those_of_sets(a: set[int], b: set[int]) -> None:
    assert (Rows(a) | Rows(b)).ranges == Rows(a | b).ranges
    assert Rows(a).overlaps(Rows(b)) == bool(a & b)


@given(INDEXES, INDEXES)
def test_difference_and_intersection_are_those_of_sets(a: set[int], b: set[int]) -> None:
    assert Rows(a) - Rows(b) == Rows(a - b)
    assert Rows(a) & Rows(b) == Rows(a & b)
    assert list(Rows(a)) == sorted(a)


@given(st.integers(1, 20), INDEXES)
def test_what_is_forgotten_is_missing_and_with_the_last_row_goes_the_total(total: int, again: set[int]) -> None:
    ledger = Ledger()
    assert ledger.admit("s", Rows(range(total)), total)
    ledger.forget("s", Rows(again))
    assert ledger.state("s").rows == Rows(set(range(total)) - again)
    assert ledger.complete("s") == (not again & set(range(total)))
    assert ledger.state("s").total == (None if total - 1 in again else total)


def test_a_contiguous_shard_is_one_range_however_its_parts_came() -> None:
    rows = Rows()
    for start in (64, 0, 32, 96):
        rows |= Rows.from_ranges([(start, start + 32)])
    assert rows.ranges == ((0, 128),)


@given(st.lists(st.tuples(INDEXES.filter(bool), st.booleans()), max_size=8), st.integers(1, 41))
def test_no_row_is_ever_admitted_twice(parts: list[tuple[set[int], bool]], total: int) -> None:
    ledger, admitted, told = Ledger(), set[int](), False
    for indexes, last in parts:
        accepted = ledger.admit("s", Rows(indexes), total if last else None)
        assert accepted == (not indexes & admitted)
        if accepted:
            admitted |= indexes
            told = told or last
        assert ledger.row_count == len(admitted)
        assert ledger.complete("s") == (told and len(admitted) >= total)


def test_shards_are_apart_and_asking_of_one_books_nothing() -> None:
    ledger = Ledger()
    assert not ledger.complete("never heard of")
    assert ledger.shards == {}
    assert ledger.admit("a", Rows([0]), 1)
    assert ledger.admit("b", Rows([0]), 2)
    assert (ledger.complete("a"), ledger.complete("b"), ledger.row_count) == (True, False, 2)


def test_a_shard_is_complete_however_late_its_total_is_told() -> None:
    ledger = Ledger()
    assert ledger.admit("s", Rows([2]), 3)
    assert not ledger.complete("s")
    assert ledger.admit("s", Rows([0, 1]), None)
    assert ledger.complete("s")
