"""Measures the embedded models on photographs that no training saw, and prints the figures as Markdown.

python jobs/evaluate_models.py --photos 'photos/000003.tar' --clean 'photos/00000[0-2].tar' --cards
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image as PIL

from qrefine.config import Bounds, RefineConfig
from qrefine.models.judges.piqe import piqe_score
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.restorers.embedded import EmbeddedRestorer
from qrefine.models.weights import EMBEDDED
from qrefine.quality.map import Image, Plane
from qrefine.quality.regions import flatten, strength
from qrefine.stages.refiner import Refiner
from qrefine.training.card import set_figures
from qrefine.training.degradations import KINDS
from qrefine.training.figures import (
    RESTORED,
    Case,
    by_family,
    by_kind,
    cases,
    patch_aucs,
    perfect_score,
    psnr,
    restoration_gains,
    severity_correlations,
)
from qrefine.training.job import main
from qrefine.training.niqe import fit_niqe
from qrefine.training.photos import load_photos

Row = tuple[str, str, str]
"""What is measured, the goal, the figure."""

BOUNDS = Bounds()


def job() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photos", action="append", required=True, metavar="GLOB", help="clean, kept out of training"
    )
    parser.add_argument("--clean", action="append", required=True, metavar="GLOB", help="clean, to fit NIQE to")
    parser.add_argument("--generated", action="append", default=[], metavar="GLOB", help="generated images")
    parser.add_argument("--sheet", type=Path, help="with --generated: a contact sheet of them and their maps")
    parser.add_argument("--mapper", help="weights; without: the package's")
    parser.add_argument("--restorer", help="weights; without: the package's")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th photo: sooner, rougher")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cards", action="store_true", help="put the figures into the package's model cards")
    given = parser.parse_args()
    photos = load_photos(given.photos, 64).images[:: given.every]
    mapper, restorer = EmbeddedMapper(given.mapper), EmbeddedRestorer(given.restorer)
    of_mapper = [*mapper_rows(mapper, photos, given.seed), speed_of_mapper(mapper)]
    of_restorer = [*restorer_rows(mapper, restorer, photos, given.seed), speed_of_restorer(restorer)]
    refiner = Refiner(_config(given.mapper, given.restorer))
    together = [*pristine_rows(refiner, photos), *judge_rows(refiner, photos, given.clean, given.seed)]
    if given.generated:
        of_mapper.append(generated_row(mapper, load_photos(given.generated, 1).images, given.sheet))
    seen = f"{len(photos)} photographs of `{' '.join(Path(p).name for p in given.photos)}`, kept out of training."
    tables = [f"{seen}\n\n{table([*rows, *together])}" for rows in (of_mapper, of_restorer)]
    print(f"{seen}\n\n{table([*of_mapper, *of_restorer, *together])}")
    if given.cards:
        for name, text in zip(("mapper", "restorer"), tables, strict=True):
            set_figures(EMBEDDED / f"{name}.md", text)


def _config(mapper: str | None, restorer: str | None) -> RefineConfig:
    """The defaults with other weights."""
    blind = {"weights": restorer}
    return RefineConfig.model_validate(
        {"mapper": {"weights": mapper}, "inpaint": {"weights": restorer}, "enhance": {"blind": blind}}
    )


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| figure | goal | measured |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def mapper_rows(mapper: EmbeddedMapper, photos: Sequence[Image], seed: int) -> list[Row]:
    """Where damage is, how much, and how often it is seen where there is none."""
    rows = []
    for name, low, high, goal in (("above", 1 / 3, 1.0, "0.99 / 0.93"), ("below", 0.05, 1 / 3, "0.95 / 0.80")):
        found = patch_aucs(mapper, photos, low, high, seed, each=4)
        values = [value for _, value in found]
        of_kind = {kind: float(np.mean([v for k, v in found if k == kind])) for kind, _ in found}
        measured = (
            f"{np.mean(values):.3f} / {min(values):.2f} ({len(values)} images, median {np.median(values):.3f}; "
            f"lowest: {_lowest(of_kind)})"
        )
        rows.append((f"patch AUC of 1 - Q, severity {name} a third ({low:.2f} to {high:.2f}), mean / worst",
                     goal, measured))  # fmt: skip
    ranks = severity_correlations(lambda case: mapper([case.damaged])[0].score, photos, seed)
    perfect = np.mean(list(severity_correlations(perfect_score, photos, seed).values()))
    measured = f"{np.mean(list(ranks.values())):.3f} (a perfect map: {perfect:.3f}; lowest: {_lowest(ranks)})"
    rows.append((f"Spearman of q with severity by kind, mean of {len(KINDS)}", "0.93", measured))
    maps = mapper(photos)
    below = np.mean([quality.values < BOUNDS.mq for quality in maps])
    lowest = min(quality.score for quality in maps)
    rows.append(("pristine photos: patches below B_MQ", "at most 1 %", f"{below:.2%} (lowest q {lowest:.3f})"))
    return rows


def _lowest(by_kind: Mapping[str, float]) -> str:
    """The four lowest, by name."""
    return ", ".join(f"{kind} {by_kind[kind]:.2f}" for kind in sorted(by_kind, key=by_kind.__getitem__)[:4])


def generated_row(mapper: EmbeddedMapper, images: Sequence[Image], sheet: Path | None) -> Row:
    """How much of generated images is held to be damaged; the sheet shows each above its map, worst first."""
    maps = mapper(images)
    below = [float((quality.values < BOUNDS.mq).mean()) for quality in maps]
    order = np.argsort([quality.score for quality in maps])
    if sheet:
        cells = []
        for i in order:
            shown = cv2.resize(images[i], (128, 128), interpolation=cv2.INTER_AREA)
            grey = (maps[i].values * 255).astype(np.uint8)
            plane = cv2.resize(grey, (128, 128), interpolation=cv2.INTER_NEAREST)
            text = f"{maps[i].score:.2f} {below[i]:.0%}"
            cv2.putText(plane, text, (3, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 0)
            cells.append(np.concatenate([shown, np.repeat(plane[..., None], 3, 2)]))
        while len(cells) % 16:
            cells.append(np.zeros_like(cells[0]))
        rows = [np.concatenate(cells[i : i + 16], 1) for i in range(0, len(cells), 16)]
        PIL.fromarray(np.concatenate(rows)).save(sheet)
    figure = f"{sum(b > 0.5 for b in below)} of {len(images)}; mean share {np.mean(below):.1%}"
    return ("generated images with over half their area below B_MQ", "those that visibly should be", figure)


def restorer_rows(
    mapper: EmbeddedMapper, restorer: EmbeddedRestorer, photos: Sequence[Image], seed: int
) -> list[Row]:
    """dB gained in the damaged area, with the strength from the true map and from the mapper's."""

    def told(case: Case) -> Plane:
        return strength(1 - case.severity * case.region, BOUNDS.lq, BOUNDS.mq)

    def seen(case: Case) -> Plane:
        quality = mapper([case.damaged])[0]
        return strength(flatten(quality, *case.region.shape), BOUNDS.lq, BOUNDS.mq)

    rows = []
    sources: Sequence[tuple[str, Callable[[Case], Plane], float]] = (
        ("the true map", told, 1 - BOUNDS.mq), ("the mapper's map", seen, 0.1)
    )  # fmt: skip
    for source, plane, low in sources:

        def restore(case: Case, plane: Callable[[Case], Plane] = plane) -> Image:
            return restorer([case.damaged], [plane(case)], [""], [0])[0]

        gains = restoration_gains(restore, photos, low, 1.0, seed, each=6)
        change = np.array([gain.after - gain.before for gain in gains])
        families, kinds = by_family(gains), by_kind(gains)
        named = ", ".join(f"{family} {families[family]:+.2f}" for family in RESTORED)
        single = ", ".join(f"{kind} {gain:+.2f}" for kind, gain in kinds.items())
        before, after = (np.mean([getattr(g, name) for g in gains]) for name in ("before", "after"))
        rows += [
            (f"PSNR in the damaged area, strength from {source}, severity {low:.1f} to 1, {len(gains)} images",
             "+3 dB", f"{before:.2f} -> {after:.2f} dB: {change.mean():+.2f} dB ({named})"),
            ("the same by kind", "none below +0.3 dB", single),
            ("the same, images worse by over 0.05 dB", "at most 8 %", f"{(change < -0.05).mean():.1%}"),
        ]  # fmt: skip
    return rows


def pristine_rows(refiner: Refiner, photos: Sequence[Image]) -> list[Row]:
    """What the whole refiner does to photographs that need nothing."""
    changed = []
    for photo in photos:
        result = refiner([photo])[0]
        if result.status == "refined":
            changed.append(psnr(photo, result.image))
    worst = f"lowest PSNR {min(changed):.1f} dB" if changed else "none changed"
    share = f"{len(changed) / len(photos):.1%} ({len(changed)} of {len(photos)}), {worst}"
    return [("pristine photos through the refiner: changed / PSNR of those", "at most 3 % / over 45 dB", share)]


def judge_rows(refiner: Refiner, photos: Sequence[Image], clean: Sequence[str], seed: int) -> list[Row]:
    """Judges that no training saw: the share of refined samples that they prefer, and of the clean photographs."""
    niqe = fit_niqe(load_photos(clean, 192).images)
    judges: dict[str, Callable[[Image], float]] = {"PIQE": piqe_score, "NIQE": niqe}
    kinds = tuple(kind for kind in KINDS if kind not in ("patch_swap", "warp", "colour_shift"))
    wins: dict[str, list[tuple[bool, bool]]] = {name: [] for name in judges}
    large = [photo for photo in photos if min(photo.shape[:2]) >= 192]
    for case in cases(large, kinds, 0.2, 1.0, 2, seed):
        result = refiner([case.damaged])[0]
        if result.status != "refined":
            continue
        for name, judge in judges.items():
            before, after, best = judge(case.damaged), judge(result.image), judge(case.clean)
            wins[name].append((after < before, best < before))
    rows = []
    for name, pairs in wins.items():
        share, ceiling = (float(np.mean([pair[i] for pair in pairs])) for i in (0, 1))
        figure = f"{share:.1%} of {len(pairs)} refined samples; ceiling {ceiling:.1%}; ratio {share / ceiling:.1%}"
        rows.append((f"{name} prefers the refined sample", "90 % of the ceiling", figure))
    return rows


def speed_of_mapper(mapper: EmbeddedMapper) -> Row:
    """Images of 512 x 512 in a second, in batches of 8."""
    images = list(np.random.default_rng(0).integers(0, 256, (8, 512, 512, 3), dtype=np.uint8))
    return (
        "mapper, 512 x 512, batch 8",
        "30 images/s",
        f"{8 / _seconds(lambda: mapper(images)):.1f} images/s {_cores()}",
    )


def speed_of_restorer(restorer: EmbeddedRestorer) -> Row:
    """Megapixels in a second."""
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    whole = np.ones((1024, 1024), np.float32)
    seconds = _seconds(lambda: restorer([image], [whole], [""], [0]))
    return ("restorer, 1024 x 1024", "0.6 Mpx/s", f"{1.048576 / seconds:.2f} Mpx/s {_cores()}")


def _seconds(action: Callable[[], object]) -> float:
    """The best of five: other load on the machine only ever adds."""
    times = []
    for _ in range(6):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _cores() -> str:
    return f"({torch.get_num_threads()} threads, float32)"


if __name__ == "__main__":
    sys.exit(main(job))
