"""A seeded sample of a corpus, stratified over its shards.

Shards, sorted by name, are split into as many strata as shards are read, and one is drawn from each: a corpus that
was generated in batches varies along its names. Within a shard all samples that are read are equally likely. Only
the beginning of a shard of more than MOST_BYTES is read; where it does not tell its number of samples, that is
extrapolated by bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import count_samples, read_unit
from qrefine.corpus.units import Shard
from qrefine.errors import UserError
from qrefine.sample import Sample

MOST_SHARDS = 16
MOST_BYTES = 256 << 20
BLOCK = 512  # a tar member is a header block and its data, rounded up to blocks


@dataclass(frozen=True)
class ShardSample:
    """What was read of one shard: its number of samples, counted or estimated by bytes, and those drawn."""

    shard: Shard
    count: float
    counted: bool  # read to its end
    drawn: tuple[Sample, ...]


def sample_corpus(
    inputs: Sequence[str], config: RefineConfig, samples: int, seed: int
) -> tuple[list[Shard], list[ShardSample]]:
    """All shards of the input, and about ``samples`` samples from at most MOST_SHARDS of them.

    Raises UserError where these hold no image.
    """
    shards = list_shards(inputs, config.storage_options, config.input.keys)
    chosen = choose_shards(shards, min(MOST_SHARDS, samples), seed)
    each = -(-samples // len(chosen))
    read = [draw_samples(shard, each, config, seed) for shard in chosen]
    if not any(sample.source for one in read for sample in one.drawn):
        raise UserError(f"the {len(chosen)} shards that were read hold no image: {read[0].drawn[0].error}")
    return shards, read


def choose_shards(shards: Sequence[Shard], most: int, seed: int) -> list[Shard]:
    """At most ``most`` shards, one at random from each of as many strata of equal length."""
    if len(shards) <= most:
        return list(shards)
    rng = np.random.default_rng(seed)
    borders = np.linspace(0, len(shards), most + 1).round().astype(int)
    return [shards[int(rng.integers(low, high))] for low, high in pairwise(borders)]


def draw_samples(shard: Shard, most: int, config: RefineConfig, seed: int) -> ShardSample:
    """At most ``most`` samples of a shard by reservoir sampling, in one pass that holds no others in memory.

    Seeded by ``seed`` and the shard's name without its folders: a copy of a corpus has the same plan.
    """
    rng = np.random.default_rng([seed, *shard.url.rpartition("/")[2].encode()])
    reservoir: list[Sample] = []
    seen = size = 0
    counted = False
    for sample in read_unit(shard, config):
        seen += 1
        size += _tar_bytes(sample)
        if len(reservoir) < most:
            reservoir.append(sample)
        elif (place := int(rng.integers(seen))) < most:
            reservoir[place] = sample
        counted = sample.shard_rows is not None
        if size > MOST_BYTES and not counted:
            break
    known: float | None = seen if counted else count_samples(shard, config)
    count = max(float(seen), seen * (shard.size or 0) / max(1, size) if known is None else known)
    return ShardSample(shard, count, counted, tuple(sorted(reservoir, key=lambda sample: sample.index)))


def _tar_bytes(sample: Sample) -> int:
    """Approximate bytes of a sample in its tar; members that are neither image nor sidecar are not known."""
    members = [
        len(sample.source or b""),
        *(len(t.encode()) for t in (sample.prompt, sample.metadata) if t is not None),
    ]
    return sum(BLOCK + -(-length // BLOCK) * BLOCK for length in members)
