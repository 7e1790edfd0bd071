"""A run that commits once, at its end: new and changed shards, and rows that are done again.

Parts are staged until then, so readers see the table before the run or after it. A killed run continues where it
stopped, as long as the table is at the version that the run began with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from qrefine.nightly.changes import Again, plan_digest
from qrefine.nightly.night import NightPlan, View
from qrefine.nightly.rewrites import compaction_jobs, removed_parts, settle_jobs
from qrefine.nightly.settle import MergeJob, run_merge
from qrefine.table.journal import Entry, Journal
from qrefine.table.ledger import Rows
from qrefine.table.parts import PartRecord
from qrefine.table.table import PART_BYTES
from qrefine.work.plans import ShardPlan
from qrefine.work.run import Run


@dataclass(frozen=True)
class NightSummary:
    """The result of a night, also written as JSON into the table's ``_qrefine`` folder."""

    run: str
    table: str
    config: str
    version: int  # of the table after the night
    committed: bool  # whether the night made this version; False: there was nothing to do
    plan: NightPlan
    samples: int  # that the models processed, and those that could not be read
    refined: int
    kept: int
    failed: int
    failed_shards: int
    unread: int  # shards whose reader died in each pass: their rows stay as they were
    errors: dict[str, int]
    decisions: dict[str, int]
    continued: int  # of the samples: those that a night before left ready when it was killed
    settled: dict[str, int]  # rows done again: replaced, not better, failed
    compacted: int  # shards whose small parts were merged
    vacuumed: int  # deleted parts that no version within the retention holds
    leftovers_removed: int
    seconds: float
    cpus: float  # that the night could use; GPUs are logical ones
    gpus: float

    @property
    def exit_code(self) -> int:
        """3 where a shard failed, else 0."""
        return 3 if self.failed_shards or self.unread else 0

    def told(self) -> dict[str, Any]:
        """The night's entry in the commit; says how many shards vanished, not which."""
        values = asdict(self)
        values["plan"]["vanished"] = len(self.plan.vanished)
        left_out = ("run", "table", "config", "version", "committed", "vacuumed")
        return {name: value for name, value in values.items() if name not in left_out}


class AtomicRun:
    """Does what a comparison found, and commits it in one step; ``run`` processes the samples.

    ``only_again``: only rows that are done again; new and changed shards are left to other runs.
    """

    def __init__(
        self, run: Run, inputs: Sequence[str], again: Again, *, prune: bool = False, only_again: bool = False
    ) -> None:
        self.run, self.table, self.config, self.only_again = run, run.table, run.config, only_again
        self.began = time.monotonic()
        self.leftovers = self.table.remove_leftovers(run.name)
        view = View.of(inputs, run.shards, self.table, self.config, again)
        self.view = view.only_again() if only_again else view
        self.plan = NightPlan.of(run.shards, self.view.pieces, self.view.changes, prune)
        self.dropped = self.view.dropped(prune)
        self.versions = self.view.versions(run.shards)
        self.view.reopen()
        run.ledger = self.view.ledger
        run.redrawn = {shard: rows.redrawn for shard, rows in self.view.changes.again.items()}
        run.draw = self.table.version + 1
        self.journal = Journal(
            self.table.store,
            self.table.version,
            plan_digest(self.config.digest, again, prune),
            run.name,
            self.table.part_names,
        )
        self.journal.resume(self._still_good)
        self.continued = sum(len(Rows.from_ranges(record.rows)) for record in self._samples())

    def work(self) -> NightSummary:
        """Process, merge, commit. If it is killed at any point, the same call continues."""
        pieces = self.view.pieces
        plans = self._missing()
        if plans:
            self.run.announce(plans)
            self.run.stream(plans, self._record)
        self._merge(settle_jobs(self.view.changes, pieces, self.dropped, self.journal, self.versions))
        jobs: list[MergeJob] = []
        if not self.only_again:
            removed = removed_parts(pieces, self.dropped, self.journal)
            jobs = compaction_jobs(pieces, removed, self.journal, self.versions)
            self._merge(jobs)
        removed = removed_parts(pieces, self.dropped, self.journal)
        summary = self._summary(len(jobs))
        if removed or self.journal.entries:
            self.run.lease.check()
            metadata = {"run": summary.run, "config": summary.config, "nightly": summary.told()}
            # commit even if no result was better: the next night draws its seeds by the version
            self.table.commit(self.journal.records(), sorted(removed), **metadata)
            self.journal.discard()
            self._remove_superseded()
            summary = replace(summary, version=self.table.version, committed=True)
        if not self.only_again:
            summary = replace(summary, vacuumed=self.table.vacuum())
            if summary.committed:
                self.run.write_json(f"run-{summary.run}.json", asdict(summary))
        return summary

    def _remove_superseded(self) -> None:
        """Delete staged parts that were replaced. If killed before, the next run finds them as leftovers."""
        committed = {record.path for record in self.journal.records()}
        for entry in self.journal.entries:
            for record in entry.records:
                if record.path not in committed:
                    self.table.store.remove(record.path)

    def _missing(self) -> list[ShardPlan]:
        return self.run.missing(self.view.changes.to_do)

    def _record(self, records: list[PartRecord]) -> None:
        self.journal.add([Entry(record.shard, record.version, (record,)) for record in records])

    def _merge(self, jobs: Sequence[MergeJob]) -> None:
        """Run the jobs on the executor, so that on a cluster no row passes through this process."""
        if not jobs:
            return
        sizes = {piece.path: piece.size for piece in self.view.pieces}
        size = sum(sizes.get(path, 0) for job in jobs for path in job.old)
        merge = partial(run_merge, self.table.store, run=self.run.name, part_bytes=PART_BYTES)
        for entries in self.run.executor(size).each(merge, jobs):
            self.journal.add(entries)

    def _samples(self) -> list[PartRecord]:
        """Staged parts from the stream, not from a merge."""
        return [record for entry in self.journal.entries if not entry.sources for record in entry.records]

    def _still_good(self, entry: Entry) -> bool:
        """Whether a killed night's entry is usable: its shard is unchanged, and its rows are still to be done."""
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
        settled = sum((Counter(entry.counts) for entry in self.journal.entries), Counter())
        return NightSummary(
            run=self.run.name,
            table=self.table.store.url,
            config=self.config.digest,
            version=self.table.version,
            committed=False,
            plan=self.plan,
            samples=sum(statuses.values()),
            refined=statuses["refined"],
            kept=statuses["kept"],
            failed=statuses["failed"],
            failed_shards=sum(n for kind, n in errors.items() if kind.startswith("shard ")),
            unread=len(self._missing()),
            errors=dict(errors),
            decisions=dict(sum((Counter(record.decisions) for record in samples), Counter())),
            continued=self.continued,
            settled=dict(settled),
            compacted=compacted,
            vacuumed=0,
            leftovers_removed=self.leftovers,
            seconds=time.monotonic() - self.began,
            cpus=self.run.cpus,
            gpus=self.run.gpus,
        )
