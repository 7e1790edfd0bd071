"""What the log of a large table costs: planning a resume, a commit, a night, memory and bytes.

Rows and shards are records without images. Each measurement is a process of its own, whose peak memory counts.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.listing import listing
from benchmarks.measure import Figure, answer_of, peak_memory, say
from benchmarks.options import Options
from qrefine.config import RefineConfig
from qrefine.corpus.units import Shard
from qrefine.nightly.changes import Again
from qrefine.nightly.night import View
from qrefine.nightly.rewrites import compaction_jobs, removed_parts, settle_jobs
from qrefine.storage.store import Store
from qrefine.table.checkpoint import write_checkpoint
from qrefine.table.journal import Entry, Journal
from qrefine.table.lease import Lease
from qrefine.table.parts import PartRecord
from qrefine.table.schema import table_schema
from qrefine.table.table import Table
from qrefine.work.refine import plan_missing
from qrefine.work.run import Run

SHARD_ROWS = 1000
SHARD_BYTES = 500_000_000
CHANGED = 1000  # every so many shards one changed, and one lacks its last part
AT_ONCE = 100_000  # parts in a commit while the log is made
CONFIG = RefineConfig()
DIGEST = CONFIG.digest
LIMITS = {
    "plan of a resume": "60",
    "a commit": "5",
    "a commit with its checkpoint": "5",
    "a checkpoint made anew as a whole": "5",
    "a night": "120",
}  # seconds
MEMORY = "8"  # GB; all are for 10^9 rows


def run(options: Options) -> list[Figure]:
    """Figures of logs of 10^6 to 10^9 rows, with as many parts as blocks of a run on Ray; and of a listing."""
    figures = []
    for rows in (10**4,) if options.tiny else (10**6, 10**7, 10**8, 10**9):
        parts = parts_of_a_shard(rows)
        folder = options.folder / str(rows)
        name = f"{rows:.0e} rows, {rows // SHARD_ROWS * parts:,} parts"
        size = in_process("make", folder, rows, parts)["bytes"]
        figures.append(Figure(f"{name}: the log", size / 1e6, "MB"))
        for what in ("plan", "commit", "night"):
            found = in_process(what, folder, rows, parts)
            memory, cpu = found.pop("memory") / 1e9, found.pop("cpu")
            for kind, seconds in found.items():
                limit = LIMITS.get(kind, "") if rows == 10**9 else ""
                figures.append(Figure(f"{name}: {kind}", seconds, "s", limit))
            note = f"of this process, {cpu:.3g} s of CPU"
            figures.append(
                Figure(f"{name}: {what}, peak memory", memory, "GB", MEMORY if rows == 10**9 else "", note)
            )
        shutil.rmtree(folder)
    return [*figures, *listing(options.of(10**6, 2500))]


def parts_of_a_shard(rows: int) -> int:
    """A part for each block: as many as a run on a cluster makes of a corpus of so many rows."""
    from qrefine.stream.pipeline import LARGEST_BLOCK, MOST_PARTS

    total = rows // SHARD_ROWS * SHARD_BYTES
    return -(-SHARD_BYTES // int(max(CONFIG.stream.block_mb * 2**20, min(total / MOST_PARTS, LARGEST_BLOCK))))


def in_process(what: str, folder: Path, rows: int, parts: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.billion", what, str(folder), str(rows), str(parts)]
    found: dict[str, float] = answer_of(command)
    say(f"{what} of {rows:.0e} rows in {parts} parts a shard: {found}")
    return found


def shard_url(number: int) -> str:
    return f"s3://bucket/corpus/generated/{number // 10_000:04d}/{number:08d}.tar"


def shards_of(rows: int, changed: str = "") -> list[Shard]:
    """As `list_shards` gives it; ``changed`` is the version of some."""
    return [
        Shard(shard_url(i), SHARD_BYTES, (changed if changed and i % CHANGED == 7 else "") or version(i))
        for i in range(rows // SHARD_ROWS)
    ]


def version(number: int) -> str:
    return f"500000000-{digest(f'content of {number}')}"


def digest(text: str) -> str:
    """32 characters that compress as badly as those of etags and of parts' names."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def record(shard: int, piece: int, pieces: int, generation: str = "20260101T000000-0123abcd") -> PartRecord:
    """The part ``piece`` of a shard's ``pieces``."""
    first, end = (SHARD_ROWS * k // pieces for k in (piece, piece + 1))
    last = piece == pieces - 1
    low: dict[str, Any] = {
        "shard": shard_url(shard),
        "index": first,
        "status": "kept",
        "quality_after": 0.25 + piece / 128,
    }
    low |= {"config": DIGEST, "shard_version": version(shard)} | ({"shard_rows": SHARD_ROWS} if last else {})
    high = low | {"index": end - 1, "status": "refined", "quality_after": 0.96875}
    nulls = dict.fromkeys(low, 0) | {"shard_rows": end - first - last}
    stats = {"numRecords": end - first, "minValues": low, "maxValues": high, "nullCount": nulls}
    return PartRecord(
        path=f"qrefine-{generation}-{digest(f'{shard} {piece}')}.parquet",
        size=SHARD_BYTES // pieces,
        shard=low["shard"],
        rows=((first, end),),
        shard_rows=SHARD_ROWS if last else None,
        version=low["shard_version"],
        statuses={"kept": end - first},
        stats=json.dumps(stats),
        errors={},
    )


def make(folder: Path, rows: int, parts: int) -> dict[str, float]:
    """The log of a run that lacks the last part of a few shards."""
    table = Table.open_or_create(Store.at(str(folder)), table_schema(CONFIG.judges))
    waiting: list[PartRecord] = []
    for shard in range(rows // SHARD_ROWS):
        there = parts - (shard % CHANGED == 3)
        waiting += [record(shard, piece, parts) for piece in range(there)]
        if len(waiting) >= AT_ONCE:
            table.commit(waiting, run="make")
            waiting = []
    table.commit(waiting, run="make", config=DIGEST)
    write_checkpoint(table.log)
    for commit in (folder / "_delta_log").glob("*.json"):
        commit.unlink()  # as engines do with what lies behind a checkpoint
    return {"bytes": sum(file.stat().st_size for file in (folder / "_delta_log").iterdir())}


def plan(folder: Path, rows: int, parts: int) -> dict[str, float]:
    """From the listing to what is missing, as `qrefine.api.refine` does it before it starts an executor."""
    shards = shards_of(rows)
    began = time.perf_counter()
    table = Table.open(Store.at(str(folder)))
    table.remove_leftovers("run")
    with Lease(table.store, "run") as lease:
        run = Run(CONFIG, table, shards, "run", lease, lambda size: None, print)  # type: ignore[arg-type, return-value]
        plans, _ = plan_missing(run)
    took = time.perf_counter() - began
    assert len(plans) == len([i for i in range(rows // SHARD_ROWS) if i % CHANGED == 3]), len(plans)
    return {"plan of a resume": took}


def commit(folder: Path, rows: int, parts: int) -> dict[str, float]:
    """One part more, and the checkpoint that every hundredth commit writes."""
    table, new = Table.open(Store.at(str(folder))), record(rows, 0, parts, "20260102T000000-0123abcd")
    began = time.perf_counter()
    table.commit([new], run="commit", config=DIGEST)
    took = time.perf_counter() - began
    write_checkpoint(table.log)
    later = time.perf_counter() - began
    table.commit([], [new.path], run="commit", config=DIGEST)
    return {"a commit": took, "a commit with its checkpoint": later}


def night(folder: Path, rows: int, parts: int) -> dict[str, float]:
    """All that a night does beside its work: compares, plans, merges nothing, and commits."""
    shards = shards_of(rows, "500000001-changed")
    began = time.perf_counter()
    table = Table.open(Store.at(str(folder)))
    view = View.of(["s3://bucket/corpus/generated/*/*.tar"], shards, table, CONFIG, Again())
    compared = time.perf_counter() - began
    dropped, versions = view.dropped(prune=False), view.versions(shards)
    view.reopen()
    journal = Journal(table.store, table.version, "plan", "night", set)
    entries = []
    for url in view.changes.changed:
        new = (record(int(url[-12:-4]), piece, parts, "20260103T000000-0123abcd") for piece in range(parts))
        entries.append(Entry(url, versions[url], tuple(new)))
    journal.add(entries)
    assert len(dropped) == len([i for i in range(rows // SHARD_ROWS) if i % CHANGED == 7])
    assert not settle_jobs(view.changes, view.pieces, dropped, journal, versions)
    removed = removed_parts(view.pieces, dropped, journal)
    compaction_jobs(view.pieces, removed, journal, versions)  # found, not done: rewriting is work
    table.commit(journal.records(), sorted(removed), run="night", config=DIGEST)
    journal.discard()
    table.vacuum()
    took, began = time.perf_counter() - began, time.perf_counter()
    write_checkpoint(table.log)  # what a night removed lies in all of its pieces
    anew = time.perf_counter() - began
    return {"a night": took, "the comparison of a night": compared, "a checkpoint made anew as a whole": anew}


if __name__ == "__main__":
    done = globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps({"memory": peak_memory(), "cpu": time.process_time(), **done}))
