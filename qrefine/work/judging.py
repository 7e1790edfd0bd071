"""Adds a judge to a table that exists: its scores go into a table beside (`table.beside`), and no image is copied.

It is exactly once and resumable as the table itself: parts with ranges of rows, one log, one lease. A row that
was made again since it was judged is judged again, with the others of its part. A row whose image cannot be had is
left out, and the next run tries it again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qrefine.config import RefineConfig
from qrefine.corpus.images import ImageError, decode
from qrefine.models.registry import load_judge
from qrefine.stages.judge import JudgeOf, score_pair
from qrefine.storage.ahead import ahead
from qrefine.storage.store import Store
from qrefine.table.beside import CARRIED, ROW, beside_schema, beside_store, pair_of
from qrefine.table.images import PLACE, SourceError, Sources, with_images
from qrefine.table.lease import Lease, new_run
from qrefine.table.ledger import Rows
from qrefine.table.parts import PartRecord, write_part
from qrefine.table.pieces import READERS
from qrefine.table.schema import judge_column, with_added
from qrefine.table.table import Table
from qrefine.work.committer import Committer
from qrefine.work.progress import Totals
from qrefine.work.run import ChooseExecutor

PART_ROWS = 4096  # of a judge's part
AT_ONCE = 256  # rows of a part that become a row group


@dataclass(frozen=True)
class JudgeJob:
    """Rows of one shard to judge, by the table's parts that hold them."""

    shard: str
    rows: tuple[tuple[str, Rows], ...]


@dataclass(frozen=True)
class Judged:
    """What came of a job; ``lost`` counts images that could not be had, ``notes`` scores that were not given."""

    record: PartRecord | None
    lost: dict[tuple[str, str], int]
    notes: dict[str, int]


@dataclass(frozen=True)
class JudgeSummary:
    """What was added to a table; rows judged before and still valid are ``kept``."""

    table: str  # the judge's
    judged: int
    kept: int
    again: int  # of the judged: rows whose part held rows that were made again since
    lost: dict[tuple[str, str], int] = field(
        default_factory=dict
    )  # images that could not be had, by shard and why
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """3 where an image could not be had, else 0."""
        return 3 if self.lost else 0


def add_judge(
    table: Table, judge: str, config: RefineConfig, choose: ChooseExecutor, notify: Callable[[str], None]
) -> JudgeSummary:
    """Judge the rows of a table that have no scores of ``judge`` yet. After a kill the same call continues."""
    beside = Table.open_or_create(beside_store(table.store, judge), beside_schema(judge))
    run = new_run()
    with Lease(beside.store, run) as lease:
        beside.remove_leftovers(run)
        jobs, stale, kept, again = _plan(table, beside)
        if stale:
            lease.check()
            beside.commit([], sorted(stale), run=run, judge=judge)
        totals, lost, notes = Totals(), Counter[tuple[str, str]](), Counter[str]()
        if jobs:
            count = sum(len(rows) for job in jobs for _, rows in job.rows)
            notify(f"run {run}: judge {judge} of {count} rows into {beside.root}")

            def commit(records: list[PartRecord]) -> None:
                beside.commit(records, run=run, judge=judge)

            call = partial(judge_rows, store=table.store, target=beside.store, judge=judge, config=config, run=run)
            size = sum(piece.size for piece in table.pieces())
            every = config.stream.commit_seconds
            with choose(size) as executor, Committer(commit, beside.ledger(), totals, lease, every) as committer:
                for results in executor.each(call, jobs):
                    for result in results:
                        lost.update(result.lost)
                        notes.update(result.notes)
                        if result.record is not None:
                            committer.add(result.record)
    return JudgeSummary(beside.root, totals.samples, kept, again, dict(lost), dict(notes))


def judge_rows(
    job: JudgeJob, *, store: Store, target: Store, judge: str, config: RefineConfig, run: str
) -> Judged:
    """Read the images of a job's rows, score them, and write one part of scores."""
    score, sources = _loaded(judge), Sources(config)
    lost, notes = Counter[tuple[str, str]](), Counter[str]()

    def lose(error: SourceError) -> None:
        lost[error.shard, error.reason] += 1

    pair, schema = pair_of(judge_column(judge)), beside_schema(judge)
    made: list[dict[str, Any]] = []
    for one in with_images(_rows(store, job), sources, lose):
        row = one.to_pylist()[0]
        try:
            scores, failed = _scores(row, score, sources, config)
        except SourceError as error:
            lose(error)
            continue
        if failed:
            notes[f"judge {judge} gave no score: {failed}"] += 1
        made.append({name: row[name] for name in CARRIED} | dict(zip(pair, scores, strict=True)))
    if not made:
        return Judged(None, dict(lost), dict(notes))
    made.sort(key=lambda row: row["index"])
    tables = (pa.Table.from_pylist(made[k : k + AT_ONCE], schema) for k in range(0, len(made), AT_ONCE))
    return Judged(write_part(target, tables, run), dict(lost), dict(notes))


def _scores(
    row: dict[str, Any], judge: JudgeOf, sources: Sources, config: RefineConfig
) -> tuple[tuple[float | None, float | None], str]:
    """The pair of a row, null where there is none, and why; raises SourceError."""
    if row["status"] == "failed":
        return (None, None), ""
    data = row["image"]["bytes"]
    try:
        after = decode(data, config.images)
        before = decode(sources(row), config.images) if row["status"] == "refined" else after
    except ImageError as error:
        return (None, None), str(error).partition(":")[0]
    pair, failed = score_pair(judge, before, after)
    return ((None, None) if failed else pair), failed


def _rows(store: Store, job: JudgeJob) -> Iterator[pa.Table]:
    """The rows of a job, each a table of one row: their image and what `judge_rows` needs beside."""
    columns = list(dict.fromkeys([*CARRIED, *PLACE, "image"]))
    for path, rows in job.rows:
        with store.open(path) as file:
            parquet = pq.ParquetFile(file)
            there = [name for name in columns if name in parquet.schema_arrow.names]
            for group in range(parquet.num_row_groups):
                found = with_added(parquet.read_row_group(group, columns=there))
                wanted = pc.and_(
                    pc.equal(found["shard"], job.shard), pc.is_in(found["index"], pa.array(list(rows), pa.int32()))
                )
                some = found.filter(wanted)
                yield from (some.slice(k, 1) for k in range(some.num_rows))


def _plan(table: Table, beside: Table) -> tuple[list[JudgeJob], set[str], int, int]:
    """Jobs for the rows without a valid score; stale parts; rows that stay judged; rows that are judged again."""
    rows, scored = _read(table), _read(beside)
    stale_rows = scored.join(rows.select(ROW), list(ROW), join_type="left anti")
    stale = set(pc.unique(stale_rows["path"]).to_pylist())
    valid = scored.filter(pc.invert(pc.is_in(scored["path"], pa.array(sorted(stale), pa.string()))))
    todo = rows.join(valid.select(ROW), list(ROW), join_type="left anti")
    todo = todo.sort_by([("shard", "ascending"), ("index", "ascending")]).select(["shard", "index", "path"])
    jobs = []
    for shard, its in groupby(todo.to_pylist(), key=lambda row: row["shard"]):
        members = list(its)
        for start in range(0, len(members), PART_ROWS):
            parts: dict[str, list[int]] = {}
            for row in members[start : start + PART_ROWS]:
                parts.setdefault(row["path"], []).append(row["index"])
            jobs.append(JudgeJob(shard, tuple((path, Rows(indexes)) for path, indexes in parts.items())))
    return jobs, stale, valid.num_rows, scored.num_rows - valid.num_rows


def _read(table: Table) -> pa.Table:
    """ROW of each row of a table, and the part that it is in."""

    def one(path: str) -> pa.Table:
        found = table.read(path, ROW)
        return found.append_column("path", pa.array([path] * found.num_rows, pa.string()))

    paths: Sequence[str] = sorted({piece.path for piece in table.pieces()})
    empty = pa.schema([table.schema.field(name) for name in ROW]).append(pa.field("path", pa.string()))
    return pa.concat_tables([empty.empty_table(), *ahead(one, paths, READERS)])


_own = threading.local()


def _loaded(name: str) -> JudgeOf:
    """This thread's own judge, loaded once: some cannot be shared between threads."""
    judges: dict[str, JudgeOf] = _own.__dict__.setdefault("judges", {})
    if name not in judges:
        judges[name] = load_judge(name)
    return judges[name]
