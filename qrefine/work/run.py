"""One run over shards: plan the missing rows, process and commit them, and retry lost ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

from qrefine.config import RefineConfig
from qrefine.corpus.units import Shard
from qrefine.sample import Sample
from qrefine.table.lease import FOLDER, Lease
from qrefine.table.ledger import Ledger, Rows
from qrefine.table.parts import PartRecord
from qrefine.table.table import Table
from qrefine.work.committer import Commit, Committer
from qrefine.work.executor import Executor
from qrefine.work.plans import ShardPlan
from qrefine.work.progress import Display, Totals
from qrefine.work.write import Target, write

UNKNOWN_BYTES = 1 << 40  # a shard of unknown size may be large

ChooseExecutor = Callable[[int], Executor]
"""Bytes to be read -> the executor to use."""


class Run:
    """The state of one run: shards, finished rows, and the processing of missing ones.

    When results become visible is the caller's policy: `stream` is given a function that commits the records of
    parts, at once (``refine``) or staged for one commit at the end (``nightly``).
    """

    def __init__(
        self,
        config: RefineConfig,
        table: Table,
        shards: Sequence[Shard],
        name: str,
        lease: Lease,
        choose: ChooseExecutor,
        notify: Callable[[str], None],
    ) -> None:
        self.config, self.table, self.shards, self.name, self.lease = config, table, shards, name, lease
        self.notify = notify
        self.target = Target(config, table.store, name)
        self.ledger = Ledger()
        # rows that need another seed, by shard, where rows are refined again. Lost rows of
        # these shards keep their old results
        self.redrawn: dict[str, Rows] = {}
        self.draw = 0  # selects that seed
        self.totals = Totals(shards=len(shards))
        self.retried_rows = 0
        self.cpus = self.gpus = 0.0
        self._choose = choose
        self._executor: Executor | None = None
        self._stack = ExitStack()

    def close(self) -> None:
        """Release the executor."""
        self._stack.close()

    def executor(self, size: int) -> Executor:
        """The executor, chosen and started on first use by ``size``, the bytes to be read."""
        if self._executor is None:
            self._executor = self._stack.enter_context(self._choose(size))
            self.cpus, self.gpus = self._executor.cpus, self._executor.gpus
            self.totals.meter = self._executor.meter(self.name)
            self.notify(self._executor.describe())
        return self._executor

    def announce(self, plans: Sequence[ShardPlan]) -> None:
        """Report what the run is going to do."""
        size = sum(plan.size or 0 for plan in plans)
        rows = f"; {self.ledger.row_count} rows are in the table" if self.ledger.row_count else ""
        self.notify(
            f"run {self.name} with configuration {self.config.digest} into {self.table.store.url}\n"
            f"{len(plans)} of {len(self.shards)} shards to do" + (f", {size / 1e6:,.0f} MB" if size else "") + rows
        )

    def stream(self, plans: Sequence[ShardPlan], commit: Commit) -> None:
        """Process the plans; ``commit`` is called every few seconds with the records of parts."""
        self.totals.bytes_to_do = sum(plan.size or 0 for plan in plans)
        executor = self.executor(sum(UNKNOWN_BYTES if plan.size is None else plan.size for plan in plans))
        every = self.config.stream.commit_seconds
        with (
            Display(self.totals, executor.nodes),
            Committer(commit, self.ledger, self.totals, self.lease, every) as committer,
        ):
            # the settings behind the digest in the rows, so that the table is self-contained
            self.write_json(f"config-{self.config.digest}.json", self.config.digested())
            _commit_all(executor.run(plans, self.target), committer)
            self._reconcile(executor, committer, {plan.url for plan in plans})

    def _reconcile(self, executor: Executor, committer: Committer, urls: set[str]) -> None:
        """Retry rows that were lost with a dead process, one by one; then write them as failed."""
        streamed = self.totals.samples
        for _ in range(self.config.stream.retries):
            plans = self.missing(urls)
            if not plans:
                break
            self.notify(f"a process died with rows of {len(plans)} shards; again, one by one")
            _commit_all(executor.run(plans, self.target, alone=True), committer)
        plans = self.missing(urls)
        if plans:
            reason = f"killed its process in each of {self.config.stream.retries + 1} passes"
            _commit_all(executor.fail(plans, self.target, reason), committer)
        for plan in self.missing(urls):  # not even reading it succeeds
            if plan.url not in self.redrawn:
                committer.add(self._lost_shard(plan))
        committer.flush()
        self.retried_rows += self.totals.samples - streamed
        self.totals.meter.add("retried_samples", self.totals.samples - streamed)

    def missing(self, urls: Iterable[str] | None = None) -> list[ShardPlan]:
        """Plans for the unfinished shards, or for those with these URLs."""
        wanted = None if urls is None else set(urls)
        return [
            ShardPlan(
                shard.url,
                shard.size,
                self.ledger.state(shard.url).rows.ranges,
                shard.version,
                self.redrawn.get(shard.url, Rows()).ranges,
                self.draw,
                shard.files,
            )
            for shard in self.shards
            if (wanted is None or shard.url in wanted) and not self.ledger.complete(shard.url)
        ]

    def _lost_shard(self, plan: ShardPlan) -> PartRecord:
        """One failed row that completes a shard whose reader dies."""
        sample = Sample(
            shard=plan.url,
            index=max((end for _, end in plan.done), default=0),
            shard_version=plan.version,
            shard_rows=len(Rows.from_ranges(plan.done)) + 1,
            error="shard unreadable: its reader died in each pass",
        )
        return write([sample], self.target)[0]

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """An object beside the table's log."""
        self.table.store.write(f"{FOLDER}/{name}", json.dumps(values, indent=2).encode())


def _commit_all(records: Iterable[PartRecord], committer: Committer) -> None:
    for record in records:
        committer.add(record)
    committer.flush()
