"""Calibrates the judge: thresholds by risk, written into its weights file.

Risk-controlling prediction sets (Bates et al., arXiv 2101.02703): where conformal risk control (arXiv 2208.02814)
bounds the risk on average, this bounds it with 95 % confidence.

python jobs/calibrate_judge.py --pack train.pack --judge judge.safetensors --restorer restorer.safetensors

Candidates come from kinds of liars, looks and damage that training saw, over the training's photographs and
art: the held-out ones are never looked at. A candidate's loss at a threshold is 1 where acceptance as a whole,
with this mapper, would write what is harmful (see ``training.offers``), at this threshold or a stricter one, so
that it cannot rise with the threshold.
For each family the threshold is the least at which so few losses would be improbable if more than the risk were
harmful, and of these the strictest counts.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from qrefine.config import RefineConfig
from qrefine.models.judges.comparator import EmbeddedComparator
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.restorers.embedded import EmbeddedRestorer
from qrefine.quality.map import Image, Mapper
from qrefine.sample import Sample
from qrefine.stages.accept import Accept, by_region, taken_back
from qrefine.stages.guards import cell_pixels, colour_moved, visible
from training import lies, offers, pictures
from training.degradations_cv2 import KINDS
from training.figures import RESTORED
from training.offers import Offer
from training.pack import Pack

RISKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
THRESHOLDS = 1 / (1 + np.exp(-np.arange(-1.5, 8.6, 0.1)))
DOUBT = 0.05
"""Chance that a threshold holds less than it says."""

SIDE = 256


def candidates(pack: Pack, restore: offers.Restore, each: int, looks_each: int) -> Iterable[Offer]:
    """Liars; undamaged looks, art and photographs that are "repaired"; honest repairs. Training's side only."""
    photos = [pictures.middle(photo, SIDE) for photo in pack.photos("train")]
    whole = {f"photograph {i}": pieces(photo, SIDE) for i, photo in enumerate(pack.photos("train"))}
    looks = pictures.looks_by_family(looks_each, SIDE, photos, held_out=False)
    looks |= pictures.veiled_photographs(photos, "calibration's veil")
    art = {f"art {i}": pieces(image, SIDE) for i, image in enumerate(pack.art())}
    return chain(
        offers.lying(photos, lies.training_names(), tuple(KINDS), each, "liars"),
        offers.styled(looks, restore, "styles"),
        offers.styled(art, restore, "art"),
        offers.styled(whole, restore, "photographs"),
        offers.repaired(photos, RESTORED, 2 * each, restore, "repairs"),
    )


def pieces(image: Image, side: int) -> dict[str, Image]:
    """The middle of an image and two of its corners, where it is larger than ``side``."""
    found = {"middle": pictures.middle(image, side)}
    if min(image.shape[:2]) > side:
        found |= {"first": image[:side, :side], "last": image[-side:, -side:]}
    return found


class Known:
    """A comparator whose answer for the one pair is there already."""

    cell = EmbeddedComparator.cell

    def __init__(self, better: NDArray[np.float32]) -> None:
        self.better = better

    def __call__(self, before: Sequence[Image], after: Sequence[Image]) -> list[NDArray[np.float32]]:
        return [self.better]

    def threshold(self, risk: float) -> float:
        return 0.0


def loss_by_threshold(offer: Offer, better: NDArray[np.float32], mapper: Mapper) -> NDArray[np.bool_]:
    """Whether acceptance would let harm through, for each of THRESHOLDS or a stricter one.

    The mapper is asked only where the guards and the judge let harm through.
    """
    before, after, cell = offer.before, offer.after, EmbeddedComparator.cell
    height, width = before.shape[:2]
    settings = RefineConfig().accept
    sample = Sample(decoded=before).changed(after, "x")
    seen = visible(before, after, cell)
    refused = seen & (colour_moved(before, after, cell) > settings.colour)
    better = by_region(better, seen)
    harm = np.zeros(len(THRESHOLDS), dtype=bool)
    last, known = None, False
    for i, threshold in enumerate(THRESHOLDS):
        back = refused | (better < threshold)
        if last is None or not np.array_equal(back, last):
            mixed = taken_back(sample, cell_pixels(back, height, width, cell), settings.feather * cell, cell)
            known = bool(visible(before, mixed, cell).any()) and offers.harmful(offer, mixed)
            if known:
                config = RefineConfig.model_validate({"accept": {"threshold": float(threshold)}, "judges": ()})
                whole = replace(sample, before=mapper([before])[0])
                done = Accept(config, mapper, Known(better))([whole])[0]
                known = done.refined is not None and offers.harmful(offer, done.pixels)
        harm[i], last = known, back
    return np.logical_or.accumulate(harm[::-1])[::-1]


def shown(losses: int, candidates: int, risk: float) -> bool:
    """Whether so few losses have a chance of DOUBT or less where the true share is ``risk``: a binomial test."""
    chances = (math.comb(candidates, k) * risk**k * (1 - risk) ** (candidates - k) for k in range(losses + 1))
    return sum(chances) <= DOUBT


def curve(losses: dict[str, list[NDArray[np.bool_]]], risks: Sequence[float]) -> list[tuple[float, float]]:
    """(risk, threshold), the strictest over families; risks that a family is too small to show are left out."""
    found = []
    for risk in risks:
        worst = -1.0
        for rows in losses.values():
            within = [i for i, harm in enumerate(np.sum(rows, axis=0)) if shown(int(harm), len(rows), risk)]
            worst = max(worst, float(THRESHOLDS[within[0]]) if within else 2.0)
        if worst <= 1:
            found.append((risk, round(worst, 5)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True, help="the training's data in one file")
    parser.add_argument("--judge", type=Path, required=True, help="weights, into which the curve is written")
    parser.add_argument("--mapper", help="weights; without: the package's")
    parser.add_argument("--restorer", help="weights; without: the package's")
    parser.add_argument("--each", type=int, default=40, help="candidates of each liar; repairs twice as many")
    parser.add_argument("--looks", type=int, default=5, help="pictures of each look")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    restorer, judge = EmbeddedRestorer(given.restorer), EmbeddedComparator(str(given.judge))
    mapper = EmbeddedMapper(given.mapper, patch=64)

    def restore(image: Image, strength: offers.Plane) -> Image:
        return restorer([image], [strength], [""], [0])[0]

    losses: dict[str, list[NDArray[np.bool_]]] = defaultdict(list)
    kept: list[NDArray[np.floating]] = []
    for offer in candidates(Pack(given.pack), restore, given.each, given.looks):
        if np.array_equal(offer.before, offer.after):
            continue
        (better,) = judge([offer.before], [offer.after])
        losses[offer.family].append(loss_by_threshold(offer, better, mapper))
        moved = visible(offer.before, offer.after, judge.cell)
        if offer.family == "repairs" and moved.any() and offers.gain(offer, offer.after) > 0.1:
            confirmed = by_region(better, moved)[moved]
            kept.append(np.array([(confirmed >= t).mean() for t in THRESHOLDS]))
    found = curve(losses, RISKS)
    share = np.mean(kept, axis=0) if kept else np.zeros(len(THRESHOLDS))
    for risk, threshold in found:
        cells = share[np.searchsorted(THRESHOLDS, threshold - 1e-5)]
        print(f"risk {risk}: threshold {threshold}, cells of true repairs kept {cells:.2f}")
    families = {family: len(rows) for family, rows in losses.items()}
    for family, rows in losses.items():
        harm = np.sum(rows, axis=0)
        told = ", ".join(f"{harm[i]} at {THRESHOLDS[i]:.3f}" for i in range(0, len(THRESHOLDS), 8))
        print(f"{family}: {len(rows)} candidates; harmful and accepted {told}")
    write(given.judge, found, families)
    print(f"{time.perf_counter() - began:.0f} s")


def write(path: Path, found: Sequence[tuple[float, float]], families: dict[str, int]) -> None:
    """The curve, its set and its date into the header of the weights file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        notes = dict(file.metadata() or {})
    told = ", ".join(f"{family} {count}" for family, count in families.items())
    notes["calibration"] = json.dumps({"curve": found, "set": told, "date": date.today().isoformat()})
    save_file(load_file(path), path, metadata=notes)


if __name__ == "__main__":
    main()
