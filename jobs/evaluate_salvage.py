"""Does ``plan --bar`` predict what can be repaired? Shares of a sample against a run whose truth is known.

Photographs, a third each: left clean, damaged by regions of strong noise, and blurred beyond repair. The plan sees
a sample; then every image is refined, and the shares that came out must lie within the intervals.

    python jobs/evaluate_salvage.py 'photos/*.tar' --samples 48
"""

from __future__ import annotations

import argparse
import io
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from qrefine.api import refine
from qrefine.config import RefineConfig, load_config
from qrefine.corpus.encode import encode
from qrefine.corpus.images import decode
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import read_unit
from qrefine.plan.salvage import Prices
from qrefine.plan.show import make_plan, show
from qrefine.quality.map import Image
from qrefine.table.table import open_table

KINDS = ("clean", "noisy", "lost")
FATES = ("keep", "repair", "drop or regenerate")
SIDE = 384  # pixels of the longer side
SHARDS = 6


def damaged(image: Image, kind: str, rng: np.random.Generator) -> Image:
    """The photograph as one of KINDS."""
    height, width = image.shape[:2]
    if kind == "lost":
        small = cv2.resize(image, (max(1, width // 12), max(1, height // 12)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    out = image.astype(np.float64)
    if kind == "noisy":
        for _ in range(2):
            h, w = height // 3, width // 3
            top, left = rng.integers(0, height - h), rng.integers(0, width - w)
            out[top : top + h, left : left + w] += rng.normal(0, 45, (h, w, 3))
    return np.clip(out, 0, 255).astype(np.uint8)


def photographs(inputs: list[str], config: RefineConfig, most: int) -> Iterator[Image]:
    """The first images of the shards, at most SIDE pixels."""
    count = 0
    for unit in list_shards(inputs, {}):
        for sample in read_unit(unit, config):
            if sample.source is None or count >= most:
                continue
            image = decode(sample.source, config.images)
            scale = SIDE / max(image.shape[:2])
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            yield np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) if scale < 1 else image
            count += 1


def write_corpus(folder: Path, images: Iterator[Image], config: RefineConfig) -> None:
    """Shards of all kinds; a key ends with its kind."""
    tars = [tarfile.open(folder / f"{shard}.tar", "w") for shard in range(SHARDS)]  # noqa: SIM115
    for number, image in enumerate(images):
        kind = KINDS[number % len(KINDS)]
        data = encode(damaged(image, kind, np.random.default_rng(number)), config.images)
        info = tarfile.TarInfo(f"{number:05d}-{kind}.png")
        info.size = len(data)
        tars[number // len(KINDS) % SHARDS].addfile(info, io.BytesIO(data))
    for tar in tars:
        tar.close()


def main() -> None:
    """Print the plan, what came of each kind, and whether the intervals hold it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", help="shards of clean photographs")
    parser.add_argument("--images", type=int, default=180)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--bar", type=float, default=0.85)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    config = load_config(None, ["stream.executor=local", *options.settings])
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        write_corpus(corpus, photographs(options.inputs, config, options.images), config)
        plan = make_plan(
            [str(corpus)],
            config,
            samples=options.samples,
            gpu_price=1.0,
            bar=options.bar,
            prices=Prices(regenerate=0.01),
        )
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(show(plan))
        refine([str(corpus)], f"{scratch}/table", config)
        columns = ["key", "quality_before", "quality_after"]
        rows = open_table(f"{scratch}/table").to_pyarrow_table(columns=columns).to_pylist()
    cross: Counter[tuple[str, str]] = Counter()
    for row in rows:
        kept, reached = row["quality_before"] >= options.bar, row["quality_after"] >= options.bar
        cross[row["key"].rpartition("-")[2], FATES[0 if kept else 1 if reached else 2]] += 1
    print(f"\n{'':8}{''.join(f'{fate:>22}' for fate in FATES)}")
    for kind in KINDS:
        print(f"{kind:8}{''.join(f'{cross[kind, fate]:22}' for fate in FATES)}")
    for line in plan.salvage.lines:
        share = sum(cross[kind, line.name] for kind in KINDS) / len(rows)
        held = line.share.low <= share <= line.share.high
        told = f"{line.share.value:.1%} [{line.share.low:.1%} - {line.share.high:.1%}]"
        print(f"{line.name}: {share:.1%} came out, {told} predicted: {'held' if held else 'NOT HELD'}")


if __name__ == "__main__":
    main()
