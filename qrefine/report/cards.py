"""One sample of the gallery as the template needs it: pictures as data URIs, scores, text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qrefine.config import ImageSettings
from qrefine.corpus.images import ImageError, decode
from qrefine.quality.map import Image, QualityMap
from qrefine.report.gallery import Shown
from qrefine.report.pictures import DETAIL, SIDE, data_uri, most_changed, overlay, thumbnail
from qrefine.report.statistics import Judge, generator

PROMPT_CHARS = 4000
DETAIL_SHARE = 0.5  # bytes of a detail, relative to a whole picture's


@dataclass(frozen=True)
class View:
    """A picture pair of one size; ``before`` is empty where there is only one picture."""

    before: str
    after: str
    width: int
    height: int


@dataclass(frozen=True)
class Scores:
    """A score before and after; ``better`` says which way it went, None where it did not move."""

    name: str
    before: float | None
    after: float | None
    better: bool | None


@dataclass(frozen=True)
class Card:
    """What the template shows of a sample."""

    key: str
    shard: str
    index: int
    status: str
    size: str
    generator: str
    prompt: str
    stages: tuple[str, ...]
    scores: tuple[Scores, ...]
    whole: View | None
    detail: View | None
    map_before: str
    map_after: str
    note: str


def make_card(shown: Shown, judges: Sequence[Judge], most_bytes: int) -> Card:
    """The card of a sample; its pictures take about ``most_bytes`` in all."""
    row, note = shown.row, shown.note
    settings = ImageSettings(max_megapixels=178, max_megabytes=2047)  # rows were checked when they were written
    try:
        after = decode(shown.image, settings)
        before = None if shown.source is None else decode(shown.source, settings)
        if shown.repair is not None:
            before, after = after, shown.repair
        if before is not None and before.shape != after.shape:
            before, note = None, "source has another size"
    except ImageError as error:
        before = after = None
        note = note or f"image cannot be shown: {error}"
    return Card(
        key=row["key"],
        shard=row["shard"],
        index=row["index"],
        status=row["status"],
        size=f"{row['width']} × {row['height']}",
        generator=generator(row["metadata"]),
        prompt=(row["prompt"] or "")[:PROMPT_CHARS],
        stages=tuple(row["stages"] or ()),
        scores=_scores(row, judges),
        whole=None if after is None else _whole(before, after, int(most_bytes / (2 + 2 * DETAIL_SHARE))),
        detail=_detail(before, after, int(DETAIL_SHARE * most_bytes / (2 + 2 * DETAIL_SHARE))),
        map_before=_overlay(row["quality_map_before"]),
        map_after=_overlay(row["quality_map_after"]),
        note=note,
    )


def _scores(row: dict[str, Any], judges: Sequence[Judge]) -> tuple[Scores, ...]:
    pairs = [("quality q", "quality", False)]
    pairs += [(f"judge {judge.name}", judge.name, judge.lower_is_better) for judge in judges]
    return tuple(_score(label, row[f"{stem}_before"], row[f"{stem}_after"], low) for label, stem, low in pairs)


def _score(name: str, before: float | None, after: float | None, lower_is_better: bool) -> Scores:
    if before is None or after is None or before == after:
        return Scores(name, before, after, None)
    return Scores(name, before, after, (after < before) if lower_is_better else (after > before))


def _whole(before: Image | None, after: Image, most_bytes: int) -> View:
    small = thumbnail(after, SIDE)
    height, width = small.shape[:2]
    first = "" if before is None else data_uri(thumbnail(before, SIDE), most_bytes)
    return View(first, data_uri(small, most_bytes), width, height)


def _detail(before: Image | None, after: Image | None, most_bytes: int) -> View | None:
    """The region that changed most, pixel by pixel; None where the thumbnail shows every pixel already."""
    if before is None or after is None or max(after.shape[:2]) <= SIDE:
        return None
    window = most_changed(before, after, DETAIL)
    height, width = after[window].shape[:2]
    return View(data_uri(before[window], most_bytes), data_uri(after[window], most_bytes), width, height)


def _overlay(rows: list[list[float]] | None) -> str:
    return overlay(QualityMap(np.array(rows, dtype=np.float32))) if rows else ""
