"""Work in threads, ahead of whoever takes its results: what hides the latency of a store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, most: int | None = None
) -> Generator[Result, None, None]:
    """``map`` in threads, in order; ``items`` is read by the caller's thread.

    At most ``most`` results (default: ``threads``) wait behind the one that is taken, so memory is bounded. An
    error of ``work`` is raised in its place. When the results end, or are closed, no thread is left.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="qrefine-ahead") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > (most or threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
