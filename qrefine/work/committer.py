"""Commits in a background thread: records are collected and committed every few seconds.

A commit may become dear: a slow store, a checkpoint of a large table. Commits then become rarer, so that they
take no more than SHARE of the time; a kill repeats what was done since the last one.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self

from qrefine.table.lease import Lease
from qrefine.table.ledger import Ledger, Rows
from qrefine.table.parts import PartRecord
from qrefine.work.progress import Totals

Commit = Callable[[list[PartRecord]], None]

SHARE = 0.1  # most of the time that is spent in commits

_NOTHING = "the time is up"


class Committer:
    """The only thread that calls ``commit``, with rows that are not in the ledger yet.

    An error in it is raised by the next `add`, and on exit. Exit commits pending records, also after an error in
    the stream, so that finished work counts.
    """

    def __init__(self, commit: Commit, ledger: Ledger, totals: Totals, lease: Lease, every_s: float) -> None:
        self._commit_records, self._ledger, self._totals, self._lease = commit, ledger, totals, lease
        self._every_s = every_s
        self._queue: queue.Queue[PartRecord | threading.Event | None] = queue.Queue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="qrefine-committer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def add(self, record: PartRecord) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(record)

    def flush(self) -> None:
        """Return when everything added so far is committed."""
        committed = threading.Event()
        self._queue.put(committed)
        while not committed.wait(timeout=1):
            if self._error is not None:
                raise self._error

    def _run(self) -> None:
        try:
            self._commit_for_ever()
        except BaseException as error:  # the main thread raises it
            self._error = error

    def _commit_for_ever(self) -> None:
        pending: list[PartRecord] = []
        due = time.monotonic() + self._every_s
        while True:
            item: PartRecord | threading.Event | str | None = _NOTHING
            with contextlib.suppress(queue.Empty):
                # with nothing to commit there is nothing to be in time for: a thread must not spin
                item = self._queue.get(timeout=max(0.0, due - time.monotonic()) if pending else None)
            if isinstance(item, PartRecord):
                pending.append(item)
            if not isinstance(item, PartRecord) or time.monotonic() >= due:
                began = time.monotonic()
                if pending:
                    self._commit(pending)
                took = time.monotonic() - began
                pending, due = [], time.monotonic() + max(self._every_s, took * (1 / SHARE - 1))
            if isinstance(item, threading.Event):
                item.set()
            if item is None:
                return

    def _commit(self, records: list[PartRecord]) -> None:
        self._lease.check()
        # parts whose rows are already in the table are deleted by the next run's clean-up
        fresh = [r for r in records if self._ledger.admit(r.shard, Rows.from_ranges(r.rows), r.shard_rows)]
        if fresh:
            began = time.monotonic()
            self._commit_records(fresh)
            self._totals.committed(time.monotonic() - began)
        for record in fresh:
            self._totals.add(record, self._ledger)
