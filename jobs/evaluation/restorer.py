"""Figures of the restorer: decibels and perceptual distance, with the true map and with the mapper's."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from evaluation.markdown import Row
from evaluation.product import Product
from evaluation.sources import Effort, file_name
from training import figures, perceptual
from training.contact import sheet
from training.figures import Case, Gain, Image, Plane


def restorer_rows(
    measured: Product, photos: Sequence[Image], effort: Effort, given: argparse.Namespace
) -> tuple[list[Row], list[list[str]]]:
    """PSNR gain in the damaged area and perceptual distance, with strengths from the true and the mapper's map."""

    def told(case: Case) -> Plane:
        return measured.strengths((1 - case.severity * case.region).astype(np.float32), case.region.shape)

    def seen(case: Case) -> Plane:
        return measured.strengths(measured.scores([case.damaged])[0], case.region.shape)

    distance, rows = given.features and perceptual.of_images(perceptual.load(given.features)), list[Row]()
    gains: list[list[Gain]] = []
    ratios: list[dict[str, float]] = []
    places: Sequence[tuple[str, Callable[[Case], Plane], float, str, str]] = (
        ("the true map", told, 1 - measured.mq, "+4.5; none below +0.5", ".6"),
        ("the mapper's map", seen, 0.1, "", ""),
    )
    for name, plane, low, decibels, nearer in places:
        of = list(figures.cases(photos, figures.RESTORED, low, 1.0, effort.gains, given.seed))

        def restore(case: Case, plane: Callable[[Case], Plane] = plane) -> Image:
            return measured.restore(case.damaged, plane(case))

        found = figures.gains(restore, of)
        change, kinds = np.array([g.after - g.before for g in found]), figures.gain_by_kind(found)
        families = ", ".join(f"{family} {gain:+.2f}" for family, gain in figures.gain_by_family(found).items())
        rows += [
            (f"PSNR gained where damaged, {name}, severity {low:.1f} to 1; mean of {len(kinds)} kinds; lowest",
             decibels, f"{np.mean(list(kinds.values())):+.2f}; {min(kinds.values()):+.2f} ({families})"),
            ("the same, worse by over 0.05 dB", "2 %", f"{(change < -0.05).mean():.1%} of {len(found)}"),
        ]  # fmt: skip
        ratio = figures.perceptual_by_kind(found, distance) if distance else {}
        if ratio:
            mild = [k for k in ratio if "blur" in k or "jpeg" in k or k in ("webp", "downsample")]
            means = [np.mean(list(ratio.values())), np.mean([ratio[k] for k in mild])]
            rows.append((
                f"perceptual distance to the truth, refined / damaged, {name}: mean; blur, compression, shrinking",
                nearer and f"{nearer}; .8", f"{means[0]:.2f}; {means[1]:.2f}",
            ))  # fmt: skip
        gains.append(found)
        ratios.append(ratio)
        if given.sheets:
            cells: list[tuple[str, Sequence[Image]]] = [
                (f"{g.case.kind} {g.case.severity:.1f} {g.after - g.before:+.1f} dB",
                 [g.case.damaged, g.restored, g.case.clean])
                for g in found
            ]  # fmt: skip
            sheet(given.sheets / f"restored-{file_name(name)}.png", cells)
    if distance is None:
        rows.append(("perceptual distance to the truth", ".6; .8", "skipped: no weights are given by --features"))
    first, second = (figures.gain_by_kind(found) for found in gains)
    lines = [
        [kind, *(f"{by.get(kind, float('nan')):+.2f}" for by in (first, second)),
         *(f"{ratio[kind]:.2f}" if kind in ratio else "-" for ratio in ratios)]
        for kind in first
    ]  # fmt: skip
    return rows, lines
