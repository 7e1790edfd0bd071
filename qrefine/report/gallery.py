"""Chooses the samples that the report shows, in one pass, and reads their images.

The choice depends on the rows alone, not on their parts or the order of reading. It keeps the places of rows, not
images: image bytes are read afterwards, for the chosen rows only, and source images from their shards.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qrefine.config import RefineConfig
from qrefine.quality.map import Image
from qrefine.report.rows import ChunkRows, Flags, Rows, Values
from qrefine.report.scan import TableScan
from qrefine.report.statistics import Judge
from qrefine.table.beside import pair_of
from qrefine.table.images import SourceError, Sources, image_bytes

SHARD_BYTES = 4 << 30  # read of shards without offsets in all; samples beyond that are shown without their image

REFUSED_VIEW = "refused"

Place = tuple[str, int]
"""A part and a row in it: one row may be chosen for several views, with another score in each."""


@dataclass(frozen=True, order=True)
class Pick:
    """A chosen row, and where it lies; ordered by score, then by a hash so that ties are broken fairly."""

    score: float
    tie: int
    shard: str
    index: int
    part: str = field(compare=False)
    position: int = field(compare=False)

    @property
    def place(self) -> Place:
        return self.part, self.position


class Top:
    """The ``count`` rows of highest score."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heap: list[Pick] = []

    def offer(self, scores: Values, eligible: Flags, rows: ChunkRows) -> None:
        eligible = eligible & np.isfinite(scores)
        if len(self._heap) == self.count:
            eligible &= scores >= self._heap[0].score
        candidates = np.flatnonzero(eligible)
        if len(candidates) > self.count:  # the best of them and whatever ties with the last
            least = np.partition(scores[candidates], -self.count)[-self.count]
            candidates = candidates[scores[candidates] >= least]
            best = np.lexsort((rows.hashes[candidates], scores[candidates]))[-self.count :]
            candidates = candidates[best]
        places = rows.table.select(["shard", "index"]).take(candidates).to_pylist() if len(candidates) else []
        for position, place in zip(candidates.tolist(), places, strict=True):
            pick = Pick(
                float(scores[position]),
                int(rows.hashes[position]),
                place["shard"],
                place["index"],
                rows.part,
                rows.first + position,
            )
            if len(self._heap) < self.count:
                heapq.heappush(self._heap, pick)
            else:
                heapq.heappushpop(self._heap, pick)

    def picks(self) -> list[Pick]:
        """Highest score first."""
        return sorted(self._heap, reverse=True)


@dataclass
class Section:
    """One view of the gallery: a name, what it shows, and how rows are ranked in it."""

    name: str
    title: str
    text: str
    rank: Callable[[Rows], tuple[Values, Flags]]
    top: Top


def sections(count: int, judges: Sequence[Judge], refused: int = 0) -> list[Section]:
    """The report's views, ``count`` samples each; the last has ``refused`` repairs that were turned down."""

    def gain(rows: Rows) -> Values:
        return rows.after - rows.before

    def contradiction(rows: Rows) -> tuple[Values, Flags]:
        score = np.full(len(rows), -np.inf)
        for judge in judges:  # scales differ, so a loss is measured against the scores themselves
            old, new = rows.numbers(f"{judge.name}_before"), rows.numbers(f"{judge.name}_after")
            loss = -judge.gain(rows) / (np.abs(old) + np.abs(new) + 1e-9)
            score = np.fmax(score, loss)
        return score, rows.refined & (score > 0)

    views: list[tuple[str, str, str, Callable[[Rows], tuple[Values, Flags]]]] = [
        (
            "best",
            "Best gains",
            "Refined images whose quality rose most.",
            lambda rows: (gain(rows), rows.refined),
        ),
        (
            "worst",
            "Smallest gains",
            "Refined images that only just passed: if refinement does harm that the score cannot see, look here.",
            lambda rows: (-gain(rows), rows.refined),
        ),
        (
            "uncertain",
            "Most uncertain",
            "Refined images that a judge finds worse although the deciding score rose, the strongest"
            " contradiction first.",
            contradiction,
        ),
        (
            "poor",
            "Still poor",
            "Whatever its history: the images of lowest quality in the table as it is now.",
            lambda rows: (-rows.after, ~rows.failed),
        ),
        (
            "random",
            "Random",
            "A uniform sample of all images that did not fail, the same one each time.",
            lambda rows: (np.zeros(len(rows)), ~rows.failed),
        ),
    ]
    found = [Section(name, title, text, rank, Top(count)) for name, title, text, rank in views]
    if refused:
        text = (
            "Images whose repair was turned down, lowest quality first: as they came, and the repair, made again."
        )
        found.append(Section(REFUSED_VIEW, "Refused", text, lambda r: (-r.before, r.refused), Top(refused)))
    return found


@dataclass
class Shown:
    """A chosen sample with all that its card needs; ``source`` is None where its shard could not be read."""

    row: dict[str, Any]
    source: bytes | None = None
    note: str = ""
    repair: Image | None = None  # one that was refused, to be shown as what comes after

    @property
    def image(self) -> bytes:
        return bytes((self.row["image"] or {}).get("bytes") or b"")


def look_up(scan: TableScan, picks: Iterable[Pick], config: RefineConfig, *, sources: bool) -> dict[Place, Shown]:
    """The rows of the picks; with ``sources`` what the table does not hold of their images is read from shards."""
    by_part: dict[str, set[int]] = defaultdict(set)
    for pick in picks:
        by_part[pick.part].add(pick.position)
    columns = [name for name in scan.schema.names if name != "shard_rows"]
    columns += [name for judge in scan.judges for name in pair_of(judge) if name not in columns]
    shown: dict[Place, Shown] = {}
    for part, members in by_part.items():
        positions = sorted(members)
        for position, row in zip(positions, scan.rows(part, positions, columns), strict=True):
            shown[part, position] = Shown(row)
    fetch = Sources(config, SHARD_BYTES)
    for one in sorted(shown.values(), key=lambda one: (one.row["shard"], one.row["index"])):
        _add_images(one, fetch, sources)
    return shown


def _add_images(one: Shown, fetch: Sources, sources: bool) -> None:
    """Fetch what the table does not hold: the source of a refined image, and a kept image that was not stored."""
    refined = one.row["status"] == "refined"
    if not refined and (one.image or one.row["status"] == "failed"):
        return
    try:
        if not sources:
            one.note = "sources were not read (--no-sources)"
        elif refined:
            one.source = fetch(one.row)
        else:
            one.row["image"] = {"bytes": image_bytes(one.row, sources=fetch)}
    except SourceError as error:
        one.note = error.reason
