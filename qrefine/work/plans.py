"""Plans of the rows of a shard that are left to do, and reading their samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from qrefine.config import RefineConfig
from qrefine.corpus.shards import read_shard
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


def read_plan(plan: ShardPlan, config: RefineConfig) -> Iterator[Sample]:
    """The samples of a shard that are not done yet, in order; unreadable data becomes a failed sample."""
    done, redrawn = Rows.from_ranges(plan.done), Rows.from_ranges(plan.redrawn)
    for sample in read_shard(
        plan.url,
        config.images,
        config.storage_options,
        retries=config.stream.read_retries,
        wanted=lambda index: index not in done,
    ):
        yield replace(sample, shard_version=plan.version, draw=plan.draw if sample.index in redrawn else 0)
