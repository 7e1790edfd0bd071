"""What resolution the embedded mapper needs: maps of the same images at full and at reduced resolution, n alike.

python jobs/evaluate_resolution.py --data ../shared/data --photos dreambooth/dataset --sizes 512 1024 2048

A size takes the smallest photographs that fill it, and the middle of each; none is enlarged. Those of --data are
of subjects that training did not show. Damage is made at full resolution, at places by chance: in regions of
severity above and below a third, and in squares of 48 px (there noise has a sigma of 40).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from evaluation.markdown import show
from qrefine.config import Bounds, MapperSettings
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.quality.regions import patch_count
from training import figures, pictures
from training.degradations_cv2 import KINDS, degrade
from training.figures import Case, Image, Plane

Seen = tuple[Plane, Plane]
"""Maps at full and at reduced resolution."""
Scores = NDArray[np.float32]

SMALL, STRONG = 48, 0.8646  # pixels and severity of a small defect: noise of sigma 40
BANDS = {"severe": (1 / 3, 1.0), "mild": (0.05, 1 / 3), f"{SMALL} px": (STRONG, STRONG)}
ALLOWED = 0.005  # AUC that it may lose


def main() -> None:
    given = arguments()
    torch.set_grad_enabled(False)
    torch.set_num_threads(given.threads)
    try:
        sources = [pictures.photographs(str(given.data / "photos" / "*.tar"))]
        sources += [pictures.folder(folder) for folder in given.photos]
    except ValueError as error:
        sys.exit(str(error))
    photos = sorted((p for found in sources for p in found.values()), key=lambda photo: min(photo.shape[:2]))
    look = both(given.weights, given.share)
    speed, lost = [], {}
    for size in given.sizes:
        chosen = [pictures.middle(p, size) for p in photos if min(p.shape[:2]) >= size][: given.pictures]
        if not chosen:
            sys.exit(f"no photograph has {size} px a side: name a folder of larger ones with --photos")
        found = aucs(look, chosen, given.cases, given.seed)
        lost[size] = [less - full for of_kind in found.values() for full, less in of_kind.values()]
        title = f"AUC of 1 - Q at {size} px, {len(chosen)} photographs"
        show(
            f"{title}: full resolution, and what {given.share:g} of it adds",
            ("kind", *next(iter(found.values()))),
            auc_rows(found),
        )
        speed.append([f"{size} px", *speed_row(look, chosen[: given.turns])])
    heads = ("size", "ms per megapixel: full", "less", "full / less", "undamaged area below B_MQ: full", "less")
    show("Time, and false alarms on undamaged photographs", heads, speed)
    for size, changes in lost.items():
        held = sum(change >= -ALLOWED for change in changes)
        print(f"- {size} px: {given.share:g} of it holds AUC within {ALLOWED} in {held} of {len(changes)} cells.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with photos/, shards of photographs")
    parser.add_argument(
        "--photos", type=Path, action="append", default=[], metavar="FOLDER", help="larger photographs"
    )
    parser.add_argument("--weights", help="of the mapper; default: the package's")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512], help="sides of the images in pixels")
    parser.add_argument("--share", type=float, default=0.5, help="of the sides that is left at reduced resolution")
    parser.add_argument("--pictures", type=int, default=24, help="photographs of each size at most")
    parser.add_argument("--cases", type=int, default=8, help="images of each kind and band of severity")
    parser.add_argument("--turns", type=int, default=6, help="images to take the time of")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


@dataclass(frozen=True)
class Look:
    """Both mappers: functions of an image."""

    full: Callable[[Image], Plane]
    less: Callable[[Image], Plane]

    def __call__(self, image: Image) -> Seen:
        return self.full(image), self.less(image)


def both(weights: str | None, share: float) -> Look:
    """The mapper with the default n of the full image, and the same of images shrunk by area."""
    settings, mapper = MapperSettings(), EmbeddedMapper(weights)

    def scores(image: Image, n: int) -> Plane:
        mapper.grid = n
        return mapper([image])[0].values

    def count(image: Image) -> int:
        height, width = image.shape[:2]
        return patch_count(height, width, settings.grid, settings.patch)

    def shrunk(image: Image) -> Image:
        height, width = (round(side * share) for side in image.shape[:2])
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))

    return Look(lambda image: scores(image, count(image)), lambda image: scores(shrunk(image), count(image)))


def small_defects(photos: Sequence[Image], kind: str, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Photographs with one square of SMALL px at severity STRONG, damaged with its surroundings in view."""
    reach = SMALL  # beyond the square: what blurs and codecs take from there
    for turn in range(count):
        photo = photos[turn % len(photos)]
        top, left = (int(rng.integers(reach, side - SMALL - reach)) for side in photo.shape[:2])
        around = (slice(top - reach, top + SMALL + reach), slice(left - reach, left + SMALL + reach))
        square = (slice(top, top + SMALL), slice(left, left + SMALL))
        within = slice(reach, reach + SMALL)
        damaged, region = photo.copy(), np.zeros(photo.shape[:2], np.float32)
        damaged[square] = degrade(np.ascontiguousarray(photo[around]), kind, STRONG, rng)[within, within]
        region[square] = 1
        yield Case(photo, damaged, figures.traced(region, photo, damaged), kind, STRONG)


def damaged_patches(case: Case, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Patches damaged over half their area; of a defect too small for that, over half as much as the most."""
    share = figures.on_grid(case.region, shape)
    return share >= min(0.5, max(share.max() / 2, 1e-3))


def aucs(look: Look, photos: Sequence[Image], count: int, seed: int) -> dict[str, dict[str, tuple[float, float]]]:
    """By kind and figure: AUC at full and at reduced resolution.

    By band of severity: damaged patches against the others of the same image, the mean over images. Last: severe
    against mild, among the damaged patches of all images of the kind.
    """
    result = {}
    for order, kind in enumerate(KINDS):
        rng = np.random.default_rng((seed, order))
        turned = [photos[(order * 7 + turn) % len(photos)] for turn in range(count)]
        row: dict[str, tuple[float, float]] = {}
        hurt: dict[str, list[tuple[Scores, ...]]] = {}
        for band, (low, high) in BANDS.items():
            made = figures.cases(turned, (kind,), low, high, count, seed)
            if low == high:
                made = small_defects(turned, kind, count, rng)
            values = []
            for case in made:
                maps = look(case.damaged)
                truth = damaged_patches(case, maps[0].shape)
                values.append([figures.auc(1 - q, truth) for q in maps])
                hurt.setdefault(band, []).append(tuple(1 - q[truth] for q in maps))
            full, less = np.nanmean(np.array(values), axis=0)
            row[band] = (float(full), float(less))
        grades = []
        for place in (0, 1):
            severe, mild = (np.concatenate([h[place] for h in hurt[band]]) for band in ("severe", "mild"))
            truth = np.arange(len(severe) + len(mild)) < len(severe)
            grades.append(figures.auc(np.concatenate([severe, mild]), truth))
        result[kind] = row | {"severe or mild": (grades[0], grades[1])}
    return result


def auc_rows(found: dict[str, dict[str, tuple[float, float]]]) -> list[list[str]]:
    """Kinds, then their mean and the largest loss."""
    table = np.array([list(of_kind.values()) for of_kind in found.values()])
    change = table[..., 1] - table[..., 0]
    rows = [
        [kind, *(f"{full:.3f} {less - full:+.3f}" for full, less in of_kind.values())]
        for kind, of_kind in found.items()
    ]
    mean = [f"{full:.3f} {more:+.3f}" for full, more in zip(table[..., 0].mean(0), change.mean(0), strict=True)]
    return [*rows, ["mean", *mean], ["lowest", *(f"{least:+.3f}" for least in change.min(0))]]


def speed_row(look: Look, photos: Sequence[Image]) -> list[str]:
    """Medians and extremes over turns of both, and the share of undamaged patches that B_MQ calls poor."""
    look(photos[0])
    times: list[tuple[float, float]] = []
    poor: list[tuple[float, float]] = []
    for photo in photos:
        taken, below = [], []
        for seen in (look.full, look.less):
            began = time.perf_counter()
            values = seen(photo)
            taken.append((time.perf_counter() - began) * 1e9 / (photo.shape[0] * photo.shape[1]))
            below.append(float((values < Bounds().mq).mean()))
        times.append((taken[0], taken[1]))
        poor.append((below[0], below[1]))
    ratios = [full / less for full, less in times]
    full, less = (statistics.median(of) for of in zip(*times, strict=True))
    shares = [f"{np.mean(of):.1%}" for of in zip(*poor, strict=True)]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [f"{full:.0f}", f"{less:.0f}", ratio, *shares]


if __name__ == "__main__":
    main()
