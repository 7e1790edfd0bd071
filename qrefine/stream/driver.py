"""One refinement from listing to summary: plan, stream, commit, reconcile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset

from qrefine.config import RefineConfig
from qrefine.corpus.listing import Shard, list_shards
from qrefine.corpus.shards import RawSample
from qrefine.models.registry import check_backends
from qrefine.nightly.changes import AgainRows, compare
from qrefine.storage.store import Store
from qrefine.stream.committer import Commit, Committer
from qrefine.stream.metrics import Meter
from qrefine.stream.pipeline import failure_stream, records, refine_stream
from qrefine.stream.pools import Topology, plan_topology
from qrefine.stream.progress import Display, Tally, alive_nodes
from qrefine.stream.session import session
from qrefine.stream.source import ShardPlan
from qrefine.stream.write import Target
from qrefine.table.lease import FOLDER, Lease, new_run
from qrefine.table.ledger import Ledger, Rows
from qrefine.table.parts import PartRecord, write_part
from qrefine.table.pieces import build_ledger
from qrefine.table.schema import Outcome, make_row, table_schema
from qrefine.table.table import Table


@dataclass(frozen=True)
class Summary:
    """The result of a run, also written as JSON into the table's ``_qrefine`` folder."""

    run: str
    table: str
    config: str
    shards: int
    shards_done_before: int
    samples: int
    refined: int
    kept: int
    failed: int
    failed_shards: int
    errors: dict[str, int]
    extra_images: int
    quality_before: float | None
    quality_after: float | None
    seconds: float
    images_per_second: float
    leftovers_removed: int
    retried_rows: int
    cpus: float  # that the run could use; GPUs as logical ones
    gpus: float
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """3 where a shard failed, else 0."""
        return 3 if self.failed_shards else 0


def refine(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None = None,
    *,
    retry_failed: bool = False,
    debug: bool = False,
    notify: Callable[[str], None] = lambda text: None,
) -> Summary:
    """Refine all shards behind ``inputs`` into the table at ``output``; what is committed already is left alone.

    Raises UserError for what a person must mend. Killed at any point, the same call continues.
    """
    with begun(inputs, output, config, debug, notify) as run:
        return run.refine(retry_failed)


@contextmanager
def begun(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None,
    debug: bool,
    notify: Callable[[str], None],
) -> Iterator[Run]:
    """A run that alone may write to the table at ``output`` until it ends; nothing is read of the shards yet."""
    config = config or RefineConfig()
    check_models(config)
    shards = list_shards(inputs, config.storage_options)
    table = Table.open_or_create(Store.at(output, config.storage_options), table_schema(config.judges))
    name = new_run()
    with Lease(table.store, name) as lease:
        yield Run(config, table, shards, name, lease, debug, notify)


def check_models(config: RefineConfig) -> None:
    """Raises UserError where a model of the configuration is unknown or its weights are not there."""
    enhancers = [config.enhance.blind, *([config.enhance.prompt] if config.enhance.prompt else [])]
    check_backends(config.mapper, [config.inpaint, *enhancers], config.judges)


class Run:
    """The state of one run: shards, the rows that are done, and the way from the ones to the others."""

    def __init__(
        self,
        config: RefineConfig,
        table: Table,
        shards: Sequence[Shard],
        run: str,
        lease: Lease,
        debug: bool,
        notify: Callable[[str], None],
    ) -> None:
        self.config, self.table, self.shards, self.run, self.lease = config, table, shards, run, lease
        self.target = Target(config, table.store, run)
        self.debug, self.notify = debug, notify
        self.ledger = Ledger()
        self.again: dict[str, AgainRows] = {}  # rows of shards as they were: what is not done of them stays
        self.draw = 0  # of the random numbers of those that the same settings do again
        self.tally = Tally(shards=len(shards), meter=Meter(run))
        self.retried_rows = 0
        self.cpus = self.gpus = 0.0

    def refine(self, retry_failed: bool) -> Summary:
        leftovers = self.table.remove_leftovers(self.run)
        if retry_failed:
            dropped = self.table.drop_failed(self.run)
            self.notify(f"{dropped} failed rows are tried again")
        pieces = self.table.pieces()
        self.ledger = build_ledger(pieces, self.table.read)
        done_before = sum(self.ledger.complete(shard.url) for shard in self.shards)
        self.tally.shards_done = done_before
        plans = self.missing()
        notes = self._notes(len(compare([], self.shards, pieces, self.ledger).changed))
        if plans:
            rows = f"; {self.ledger.row_count} rows are in the table" if self.ledger.row_count else ""
            self.notify(f"{self.announced(plans)}{rows}")
            metadata = {"run": self.run, "config": self.config.digest}
            self.stream(plans, lambda records: self.table.commit(records, **metadata))
        summary = self._summary(done_before, leftovers, notes)
        if plans:
            self.write_json(f"run-{self.run}.json", asdict(summary))
        return summary

    def announced(self, plans: Sequence[ShardPlan]) -> str:
        """What the run says of itself before it begins."""
        size = sum(plan.size or 0 for plan in plans)
        return (
            f"run {self.run} with configuration {self.config.digest} into {self.table.root}\n"
            f"{len(plans)} of {len(self.shards)} shards to do" + (f", {size / 1e6:,.0f} MB" if size else "")
        )

    def stream(self, plans: Sequence[ShardPlan], commit: Commit) -> None:
        """Do what is planned; ``commit`` is called every few seconds with the records of parts."""
        self.tally.bytes_to_do = sum(plan.size or 0 for plan in plans)
        with (
            session(self.config.stream, self.debug),
            Display(self.tally),
            Committer(commit, self.ledger, self.tally, self.lease, self.config.stream.commit_seconds) as committer,
        ):
            self._write_settings()
            resources = ray.cluster_resources()
            self.cpus, self.gpus = float(resources.get("CPU", 1)), float(resources.get("GPU", 0))
            topology = plan_topology(self.config, self.cpus, self.gpus)
            nodes = alive_nodes()
            self.notify(f"{nodes} node{'s' * (nodes > 1)}, {self.cpus:g} CPUs, {self.gpus:g} GPUs: {topology}")
            self._drain(refine_stream(plans, topology, self.target), committer)
            self._reconcile(topology, committer)

    def _drain(self, dataset: Dataset, committer: Committer) -> None:
        for record in records(dataset):
            committer.add(record)
        committer.flush()

    def _reconcile(self, topology: Topology, committer: Committer) -> None:
        """What was planned and is not committed died with its actor: again in blocks of one, then as failed."""
        streamed = self.tally.samples
        for _ in range(self.config.stream.retries):
            plans = self.missing()
            if not plans:
                break
            self.notify(f"an actor's death lost rows of {len(plans)} shards; again, one by one")
            self._drain(refine_stream(plans, topology, self.target, alone=True), committer)
        plans = self.missing()
        if plans:
            reason = f"killed its process in each of {self.config.stream.retries + 1} passes"
            self._drain(failure_stream(plans, self.target, reason), committer)
        for plan in self.missing():  # not even reading it ends well
            if plan.url not in self.again:
                committer.add(self._lost_shard(plan))
        committer.flush()
        self.retried_rows = self.tally.samples - streamed
        self.tally.meter.add("retried_samples", self.retried_rows)

    def missing(self) -> list[ShardPlan]:
        """What is left to do of each shard."""
        return [
            ShardPlan(
                shard.url,
                shard.size,
                self.ledger.state(shard.url).rows.ranges,
                shard.version,
                self.again[shard.url].redrawn.ranges if shard.url in self.again else (),
                self.draw,
            )
            for shard in self.shards
            if not self.ledger.complete(shard.url)
        ]

    def _lost_shard(self, plan: ShardPlan) -> PartRecord:
        """One failed row that closes a shard whose reader dies."""
        index = max((end for _, end in plan.done), default=0)
        raw = RawSample(
            plan.url,
            index,
            "",
            error="shard unreadable: its reader died in each pass",
            shard_rows=len(Rows.from_ranges(plan.done)) + 1,
            version=plan.version,
        )
        rows = [make_row(raw, Outcome(), self.config, self.run)]
        table = pa.Table.from_pylist(rows, schema=table_schema(self.config.judges))
        return write_part(self.table.store, [table], self.run)

    def _notes(self, changed: int) -> list[str]:
        previous, this = self.table.last_config(), self.config.digest
        notes = (
            [f"{changed} shards changed since they were done: qrefine nightly does them anew"] if changed else []
        )
        if previous not in (None, this):
            notes.append(f"rows of an earlier run were made with configuration {previous}; this is {this}")
        return notes

    def _summary(self, done_before: int, leftovers: int, notes: list[str]) -> Summary:
        tally = self.tally
        return Summary(
            run=self.run,
            table=self.table.root,
            config=self.config.digest,
            shards=len(self.shards),
            shards_done_before=done_before,
            samples=tally.samples,
            refined=tally.statuses["refined"],
            kept=tally.statuses["kept"],
            failed=tally.statuses["failed"],
            failed_shards=tally.failed_shards,
            errors=dict(tally.errors),
            extra_images=tally.extra_images,
            quality_before=tally.quality_before / tally.scored if tally.scored else None,
            quality_after=tally.quality_after / tally.scored if tally.scored else None,
            seconds=tally.elapsed,
            images_per_second=tally.rate,
            leftovers_removed=leftovers,
            retried_rows=self.retried_rows,
            cpus=self.cpus,
            gpus=self.gpus,
            notes=notes,
        )

    def _write_settings(self) -> None:
        """What the digest in the rows stands for, so that the table explains itself."""
        self.write_json(f"config-{self.config.digest}.json", self.config.digested())

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """An object beside the table's log."""
        self.table.store.write(f"{FOLDER}/{name}", json.dumps(values, indent=2).encode())
