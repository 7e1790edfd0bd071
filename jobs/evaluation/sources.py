"""The undamaged pictures of the evaluation, by source; how many of them, and how large."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training import pictures
from training.figures import Image


@dataclass(frozen=True)
class Effort:
    """Sizes of the evaluation: pictures per source, their side, cases per kind, pictures per held-out family."""

    pictures: int
    side: int
    crop: int
    cases: int
    ranks: int
    gains: int
    looks: int


QUICK = Effort(pictures=24, side=384, crop=256, cases=2, ranks=6, gains=3, looks=2)
FULL = Effort(pictures=10_000, side=1024, crop=512, cases=8, ranks=24, gains=10, looks=8)


def sources(given: argparse.Namespace, effort: Effort) -> tuple[dict[str, dict[str, Image]], list[str]]:
    """Undamaged pictures by source, and notes on what is missing. ValueError without photographs."""
    found: dict[str, dict[str, Image]] = {}
    notes = []
    whole = pictures.photographs(str(given.data / "photos" / "*.tar"))
    found["photographs, by subject"] = pictures.thinned(whole, effort.pictures, effort.side)
    if scikit := pictures.scikit_images():
        found["scikit-image"] = pictures.thinned(scikit, effort.pictures, effort.side)
    else:
        notes.append("scikit-image is not installed: its pictures are left out")
    for name, pattern in (("art/check", "art/check/*.tar"), ("aigi (not known to be undamaged)", "aigi/*.tar")):
        try:
            found[name] = pictures.thinned(
                pictures.shards(str(given.data / pattern)), effort.pictures * 2, effort.side
            )
        except ValueError as error:
            notes.append(f"{error}: left out")
    for text in given.more:
        name, _, path = text.partition("=")
        found[name] = pictures.thinned(pictures.folder(Path(path)), effort.pictures * 2, effort.side)
    size = min(effort.side, 384)
    for name, made in pictures.looks_by_family(effort.looks, size, list(whole.values()), held_out=True).items():
        found[f"look: {name}"] = made
    return found, notes


def grouped(undamaged: Mapping[str, object]) -> dict[str, list[str]]:
    """The sources; before the looks, one group of all looks."""
    looks = [name for name in undamaged if name.startswith("look: ")]
    single = [name for name in undamaged if name not in looks]
    return {**{name: [name] for name in single}, "held-out looks, all": looks, **{name: [name] for name in looks}}


def file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.split(" (")[0]).strip("-")
