"""The ``refine`` run: rows that are not in the table yet, visible with each commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from qrefine.corpus.units import inner, recut
from qrefine.table.parts import PartRecord
from qrefine.table.pieces import build_ledger, has_changed, recorded_versions, uncollected
from qrefine.work.plans import ShardPlan
from qrefine.work.run import Run


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
    decisions: dict[str, int]
    extra_images: int
    quality_before: float | None
    quality_after: float | None
    seconds: float
    images_per_second: float
    leftovers_removed: int
    retried_rows: int
    cpus: float  # available to the run; GPUs are logical GPUs
    gpus: float
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """3 where a shard failed, else 0."""
        return 3 if self.failed_shards else 0


def refine_missing(run: Run, leftovers: int = 0, notes: Sequence[str] = ()) -> Summary:
    """Refine all rows that are missing in the table; ``leftovers`` and ``notes`` go into the summary."""
    plans, more = plan_missing(run)
    done_before = run.totals.shards_done
    notes = [*notes, *more]
    if plans:
        run.announce(plans)

        def commit(records: list[PartRecord]) -> None:
            run.table.commit(records, run=run.name, config=run.config.digest)

        run.stream(plans, commit)
    summary = _summary(run, done_before, leftovers, notes)
    if run.totals.samples:
        run.write_json(f"run-{run.name}.json", asdict(summary))
    return summary


def plan_missing(run: Run) -> tuple[list[ShardPlan], list[str]]:
    """What is missing in the table by its log, and notes on what is there; the run's ledger is filled."""
    with uncollected():
        return _plan_missing(run)


def _plan_missing(run: Run) -> tuple[list[ShardPlan], list[str]]:
    pieces = run.table.pieces()
    run.ledger, run.redrawn = build_ledger(pieces, run.table.read), {}
    run.totals.shards_done = sum(run.ledger.complete(shard.url) for shard in run.shards)
    versions = recorded_versions(pieces)
    _, renumbered = recut([shard.url for shard in run.shards], versions)
    changed = {s.url for s in run.shards if has_changed(s.version, versions.get(s.url, set()))}
    # units of folders and tables that changed, or hold samples of one that is gone: some of their rows exist
    not_now = {url for url in changed if inner(url)} | renumbered
    plans = run.missing({shard.url for shard in run.shards} - not_now if not_now else None)
    return plans, _notes(run, len(changed) + len(renumbered))


def _notes(run: Run, changed: int) -> list[str]:
    """Notes on existing rows that a user may not expect."""
    notes = []
    if changed:
        notes.append(f"{changed} shards changed since they were done: qrefine nightly does them again")
    previous, this = run.table.last_config(), run.config.digest
    if previous not in (None, this):
        notes.append(f"rows of an earlier run were made with configuration {previous}; this is {this}")
    return notes


def _summary(run: Run, done_before: int, leftovers: int, notes: Sequence[str]) -> Summary:
    totals = run.totals
    return Summary(
        run=run.name,
        table=run.table.store.url,
        config=run.config.digest,
        shards=len(run.shards),
        shards_done_before=done_before,
        samples=totals.samples,
        refined=totals.statuses["refined"],
        kept=totals.statuses["kept"],
        failed=totals.statuses["failed"],
        failed_shards=totals.failed_shards,
        errors=dict(totals.errors),
        decisions=dict(totals.decisions),
        extra_images=totals.extra_images,
        quality_before=totals.quality_before / totals.scored if totals.scored else None,
        quality_after=totals.quality_after / totals.scored if totals.scored else None,
        seconds=totals.elapsed,
        images_per_second=totals.rate,
        leftovers_removed=leftovers,
        retried_rows=run.retried_rows,
        cpus=run.cpus,
        gpus=run.gpus,
        notes=[*notes, *(f"{count} x {note}" for note, count in sorted(totals.notes.items()))],
    )
