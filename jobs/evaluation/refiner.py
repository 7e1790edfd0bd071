"""Figures of the whole refiner: what it gains on damaged pictures, and what it changes on undamaged ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evaluation.filtering import damaged
from evaluation.product import Product
from evaluation.sources import file_name, grouped
from training import figures
from training.contact import difference, sheet
from training.figures import Changes, Image


def gain_rows(measured: Product, sources: Mapping[str, Sequence[Image]], seed: int) -> list[list[str]]:
    """What the whole refiner, acceptance and all, makes of pictures with one damaged region each."""
    rows = []
    for name, clean in sources.items():
        before = damaged(clean, seed)
        after = measured.refine(before)
        gain = np.array([
            0.0 if b is None else min(99.0, figures.psnr(b, c)) - figures.psnr(a, c)
            for c, a, b in zip(clean, before, after, strict=True)
        ])  # fmt: skip
        refined, many, worse = sum(b is not None for b in after), (gain > 1).sum(), (gain < -0.05).sum()
        rows.append([name, str(len(clean)), str(refined), f"{gain.mean():+.2f} dB", str(many), str(worse)])
    return rows


def change_rows(
    measured: Product, undamaged: Mapping[str, Mapping[str, Image]], sheets: Path | None
) -> list[list[str]]:
    """Changes by the whole refiner on undamaged pictures."""
    results = {name: measured.refine(list(found.values())) for name, found in undamaged.items()}
    rows = []
    for line, names in grouped(undamaged).items():
        before = [p for name in names for p in undamaged[name].values()]
        after = [r for name in names for r in results[name]]
        if not before:
            continue
        made = Changes.of(before, after)
        low = [sum(level < bound for level in made.levels) for bound in (45, 35)]
        least = f"{min(made.levels):.1f} dB" if made.levels else "-"
        share = f"{len(made.levels)} ({len(made.levels) / made.pictures:.0%})"
        rows.append([line, str(made.pictures), share, *map(str, low), least])
        if sheets and not line.startswith("look: "):
            changed = [(figures.psnr(a, b), a, b) for a, b in zip(before, after, strict=True) if b is not None]
            worst = sorted(changed, key=lambda c: c[0])[:60]
            cells = [(f"{p:.1f} dB", [a, b, difference(a, b)]) for p, a, b in worst]
            sheet(sheets / f"changed-{file_name(line)}.png", cells)
    return rows
