"""Plans of the rows of a shard that are left to do, and reading their samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from qrefine.config import RefineConfig
from qrefine.corpus.readers import read_unit
from qrefine.corpus.units import File, Shard
from qrefine.sample import Sample
from qrefine.table.ledger import Ranges, Rows


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be read, and the ranges of its rows that are committed already."""

    url: str
    size: int | None  # bytes; None if the store does not report it
    done: Ranges = ()
    version: str | None = None  # of the shard, from its listing
    redrawn: Ranges = ()  # rows that need another seed
    draw: int = 0  # selects that seed
    files: tuple[File, ...] = ()  # of a folder's slice, as it was listed


def read_plan(plan: ShardPlan, config: RefineConfig) -> Iterator[Sample]:
    """The samples of a shard that are not done yet, in order; unreadable data becomes a failed sample."""
    done, redrawn = Rows.from_ranges(plan.done), Rows.from_ranges(plan.redrawn)
    unit = Shard(plan.url, plan.size, plan.version, plan.files)
    for sample in read_unit(unit, config, wanted=lambda index: index not in done):
        yield replace(sample, shard_version=plan.version, draw=plan.draw if sample.index in redrawn else 0)
