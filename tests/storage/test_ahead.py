"""Results of threads: their order, how far they run ahead, errors in their place, and no thread left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.storage.ahead import ahead


def threads_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("qrefine-ahead")]


@settings(max_examples=60, deadline=None)
@given(
    waits=st.lists(st.integers(0, 3), max_size=25),
    threads=st.integers(1, 6),
    most=st.none() | st.integers(1, 9),
    bad=st.none() | st.integers(0, 30),
    stop=st.integers(0, 30),
)
def test_results_are_those_of_map_whatever_each_takes(
    waits: list[int], threads: int, most: int | None, bad: int | None, stop: int
) -> None:
    read, taken = 0, 0

    def items() -> Iterator[int]:
        nonlocal read
        for index in range(len(waits)):
            read += 1
            assert read <= taken + (most or threads) + 1
            yield index

    def work(index: int) -> int:
        time.sleep(waits[index] / 2000)
        if index == bad:
            raise ValueError(str(index))
        return index

    results = ahead(work, items(), threads, most)
    end = min(stop, len(waits), len(waits) if bad is None else bad)
    for index in range(end):
        assert next(results) == index
        taken += 1
    if bad is not None and end == bad < len(waits):
        with pytest.raises(ValueError, match=f"^{bad}$"):
            next(results)
    results.close()
    assert threads_left() == []


def test_closing_does_not_begin_what_waits() -> None:
    begun: list[int] = []

    def work(index: int) -> None:
        begun.append(index)
        time.sleep(0.05 * bool(index))

    results = ahead(work, range(100), 1, 20)
    next(results)
    results.close()
    assert len(begun) < 20


def test_an_error_of_the_items_ends_the_results() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ahead(lambda index: index, items(), 2))
    assert threads_left() == []
