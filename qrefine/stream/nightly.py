"""A night: what is new and what changed since, rows that are to be done again, and one new version of the table.

Parts are staged as they are written and committed together at the end, so readers see the table of yesterday or
of today. A night that was killed goes on where it was, as long as the table is at the version it began with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from qrefine.config import RefineConfig
from qrefine.nightly.changes import Again, plan_digest
from qrefine.nightly.night import NightPlan, View
from qrefine.nightly.rewrites import compaction_jobs, removed_parts, settle_jobs
from qrefine.nightly.settle import MergeJob
from qrefine.stream.driver import Run, begun
from qrefine.stream.merging import merge
from qrefine.stream.session import session
from qrefine.table.journal import Entry, Staging
from qrefine.table.ledger import Rows
from qrefine.table.parts import PartRecord


@dataclass(frozen=True)
class NightSummary:
    """The result of a night, also written as JSON into the table's ``_qrefine`` folder."""

    run: str
    table: str
    config: str
    version: int  # of the table after the night
    committed: bool  # whether the night made it; False: there was nothing to do
    plan: NightPlan
    samples: int  # that the night's models saw, and those before them that could not be read
    refined: int
    kept: int
    failed: int
    failed_shards: int
    unread: int  # shards whose reader died in each pass: their rows stay as they were
    errors: dict[str, int]
    continued: int  # of the samples: those that a night before left ready when it was killed
    settled: dict[str, int]  # rows done again: replaced, not better, failed
    compacted: int  # shards whose small parts were put together
    vacuumed: int  # parts that no version within the retention shows
    leftovers_removed: int
    seconds: float
    cpus: float  # that the night could use; GPUs as logical ones
    gpus: float

    @property
    def exit_code(self) -> int:
        """3 where a shard failed, else 0."""
        return 3 if self.failed_shards or self.unread else 0

    def told(self) -> dict[str, Any]:
        """What the commit says of the night; how many shards vanished, not which."""
        values = asdict(self)
        values["plan"]["vanished"] = len(self.plan.vanished)
        left_out = ("run", "table", "config", "version", "committed", "vacuumed")
        return {name: value for name, value in values.items() if name not in left_out}


def nightly(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None = None,
    again: Again | None = None,
    *,
    prune: bool = False,
    debug: bool = False,
    notify: Callable[[str], None] = lambda text: None,
) -> NightSummary:
    """Bring the table up to what lies behind ``inputs``, by one commit or, where there is nothing to do, none.

    Raises UserError for what a person must mend. Killed at any point, the same call continues.
    """
    with begun(inputs, output, config, debug, notify) as run:
        return _Night(run, inputs, again or Again(), prune).work()


class _Night:
    """The state of one night; ``run`` does the samples."""

    def __init__(self, run: Run, inputs: Sequence[str], again: Again, prune: bool) -> None:
        self.run, self.table, self.config = run, run.table, run.config
        self.began = time.monotonic()
        self.leftovers = self.table.remove_leftovers(run.run)
        self.view = View.of(inputs, run.shards, self.table, self.config, again)
        self.plan = NightPlan.of(run.shards, self.view.pieces, self.view.changes, prune)
        self.dropped = self.view.dropped(prune)
        self.versions = self.view.versions(run.shards)
        self.view.reopen()
        run.ledger, run.again = self.view.ledger, self.view.changes.again
        run.draw = self.table.version + 1
        self.staging = Staging(
            self.table.store,
            self.table.version,
            plan_digest(self.config.digest, again, prune),
            run.run,
            self.table.part_names(),
        )
        self.staging.resume(self._still_good)
        self.continued = sum(len(Rows.from_ranges(record.rows)) for record in self._samples())

    def work(self) -> NightSummary:
        plans = self.run.missing()
        removed, compacted = set[str](), 0
        with ExitStack() as stack:

            def merged(jobs: Sequence[MergeJob]) -> None:
                if jobs:
                    stack.enter_context(session(self.config.stream, self.run.debug))
                    merge(jobs, self.run.target, self.staging.add)

            if plans:
                self.run.notify(self.run.announced(plans))
                stack.enter_context(session(self.config.stream, self.run.debug))
                self.run.stream(plans, self._stage)
            merged(settle_jobs(self.view.changes, self.view.pieces, self.dropped, self.staging, self.versions))
            removed = removed_parts(self.view.pieces, self.dropped, self.staging)
            jobs = compaction_jobs(self.view.pieces, removed, self.staging, self.versions)
            merged(jobs)
            compacted = len(jobs)
            removed = removed_parts(self.view.pieces, self.dropped, self.staging)
        summary = self._summary(compacted)
        if removed or self.staging.entries:
            self.run.lease.check()
            metadata = {"run": summary.run, "config": summary.config, "nightly": summary.told()}
            # where nothing was better that is a version too: with it the next night draws other seeds
            self.table.commit(self.staging.records(), sorted(removed), **metadata)
            self.staging.discard()
            summary = replace(summary, version=self.table.version, committed=True)
        summary = replace(summary, vacuumed=self.table.vacuum())
        if summary.committed:
            self.run.write_json(f"run-{summary.run}.json", asdict(summary))
        return summary

    def _stage(self, records: list[PartRecord]) -> None:
        self.staging.add([Entry(record.shard, record.version, (record,)) for record in records])

    def _samples(self) -> list[PartRecord]:
        """Staged parts that came out of the stream, not out of a merge."""
        return [record for entry in self.staging.entries if not entry.sources for record in entry.records]

    def _still_good(self, entry: Entry) -> bool:
        """Whether a killed night's entry is of use: its shard is as it was, and its rows are still to be done."""
        if self.versions.get(entry.shard, "not there") != entry.version:
            return False
        return bool(entry.sources) or all(
            self.run.ledger.admit(record.shard, Rows.from_ranges(record.rows), record.shard_rows)
            for record in entry.records
        )

    def _summary(self, compacted: int) -> NightSummary:
        samples = self._samples()
        statuses = sum((Counter(record.statuses) for record in samples), Counter())
        errors = sum((Counter(record.errors) for record in samples), Counter())
        settled = sum((Counter(entry.counts) for entry in self.staging.entries), Counter())
        return NightSummary(
            run=self.run.run,
            table=self.table.root,
            config=self.config.digest,
            version=self.table.version,
            committed=False,
            plan=self.plan,
            samples=sum(statuses.values()),
            refined=statuses["refined"],
            kept=statuses["kept"],
            failed=statuses["failed"],
            failed_shards=sum(n for kind, n in errors.items() if kind.startswith("shard ")),
            unread=len(self.run.missing()),
            errors=dict(errors),
            continued=self.continued,
            settled=dict(settled),
            compacted=compacted,
            vacuumed=0,
            leftovers_removed=self.leftovers,
            seconds=time.monotonic() - self.began,
            cpus=self.run.cpus,
            gpus=self.run.gpus,
        )
