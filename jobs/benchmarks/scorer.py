"""5. Our PaQ-2-PiQ mapper against pyiqa's, with the same architecture: images/s and memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Figure, peak_memory, say, seconds
from benchmarks.options import Options
from benchmarks.peers.pyiqa_loader import random_paq2piq
from qrefine.models.mappers.roi_pool import RoiPoolMapper, RoIPoolModel
from qrefine.quality.map import Image

BATCHES = (1, 16)
GRID = 20  # pyiqa's


def run(options: Options) -> list[Figure]:
    """Images/s of ours over pyiqa's at each batch size; only ours, with the reason, if pyiqa is not installed."""
    side = options.of(512, 64)
    images = list(np.random.default_rng(0).integers(0, 256, (max(BATCHES), side, side, 3), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "paq2piq.pt"
        torch.save(RoIPoolModel().state_dict(), weights)
        ways = {
            "RoI-pool mapper": RoiPoolMapper(str(weights), grid=GRID),
            "RoI-pool mapper in bfloat16": RoiPoolMapper(str(weights), grid=GRID, bfloat16=True),
        }
        try:
            theirs, reason = _pyiqa(Path(folder)), f"pyiqa {version('pyiqa')}"
        except (ImportError, PackageNotFoundError, RuntimeError) as error:
            theirs, reason = None, f"pyiqa is not here: {' '.join(str(error).split())[:80]}"
            say(reason)
    figures = []
    for batch in BATCHES:
        other = _rate(lambda batch=batch: theirs(images[:batch]), batch) if theirs else None  # type: ignore[misc]
        goal = "3" if batch == max(BATCHES) else ""
        for name, ours in ways.items():
            rate = _rate(lambda ours=ours, batch=batch: ours(images[:batch]), batch)  # type: ignore[misc]
            peak = peak_memory() / 2**20
            note = f"{rate:.2f} images/s, peak {peak:.0f} MiB; {reason}"
            if other is None:
                figures.append(Figure(f"{name}, batch {batch}", rate, "images/s", "", note))
            else:
                figures.append(
                    Figure(f"{name} / pyiqa's, batch {batch}", rate / other, "x", goal, f"{note} {other:.2f}")
                )
    return figures


def _pyiqa(folder: Path) -> Callable[[list[Image]], object]:
    metric = random_paq2piq(folder)

    def score(images: list[Image]) -> object:
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            return metric(stacked)

    return score


def _rate(work: Callable[[], object], images: int) -> float:
    work()
    return images / min(seconds(work) for _ in range(5))
