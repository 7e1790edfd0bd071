"""Measures the embedded networks on pictures not seen in training, and prints the figures as Markdown.

python jobs/evaluate_models.py --data ../shared/data --features train.pack --sheets /tmp/sheets
python jobs/evaluate_models.py --data ../shared/data --mapper new/mapper.safetensors --quick

Photographs are held out by subject, looks by family. Damage is made by OpenCV, not by the code that training uses
(the restorer's card says which of its weights once saw it).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from evaluation import filtering, mapper, product, refiner, restorer
from evaluation.markdown import Row, show
from evaluation.product import Product
from evaluation.sources import FULL, QUICK, grouped, sources
from training import pictures


def main() -> None:
    given = arguments()
    torch.set_grad_enabled(False)
    if given.threads:
        torch.set_num_threads(given.threads)
    effort = QUICK if given.quick else FULL
    try:
        measured = product.load(given.mapper, given.restorer, given.judge)
        undamaged, notes = sources(given, effort)
    except ValueError as error:
        sys.exit(str(error))
    began = time.perf_counter()
    photos = [pictures.middle(p, effort.crop) for p in undamaged["photographs, by subject"].values()]
    weights = (f"{name} `{getattr(given, name) or 'of the package'}`" for name in ("mapper", "restorer", "judge"))
    print(f"{'Quick figures' if given.quick else 'Figures'}: {', '.join(weights)}; seed {given.seed}.\n")
    show("Undamaged pictures", ("source", "pictures", "area below B_MQ", "with over half below", "lowest q"),
         mapper.false_alarms(measured, undamaged, given.sheets))  # fmt: skip
    known = {name: list(found.values()) for name, found in undamaged.items() if "not known" not in name}
    mixed = {line: [p for name in names for p in known[name]] for line, names in grouped(known).items()}
    mixed = {name: some for name, some in mixed.items() if not name.startswith("look: ")}
    show("Filtering by q", ("source", "pictures", "AUC of q, damaged or not", "q falls by the damage"),
         filtering.rows(measured.scores, mixed, given.seed))  # fmt: skip
    show("Damaged pictures through the whole refiner",
         ("source", "pictures", "refined", "mean gain", "nearer the truth by 1 dB", "farther by .05 dB"),
         refiner.gain_rows(measured, mixed, given.seed))  # fmt: skip
    rows, maps, of = mapper.mapper_rows(measured, photos, effort, given.seed)
    show("Mapper", ("figure", "goal", "measured"), rows)
    heads = ("Q", "patches", "mean Q", "mean 1 - severity", "10 %, 50 %, 90 %")
    show("Calibration: what Q means, by patches of damaged photographs", heads, mapper.calibration_rows(maps, of))
    rows, by_kind = restorer.restorer_rows(measured, photos, effort, given)
    show("Restorer", ("figure", "goal", "measured"), rows)
    show("By kind",
         ("kind", "dB, true map", "dB, the mapper's", "distance, true map", "distance, the mapper's"),
         by_kind)  # fmt: skip
    show("Undamaged pictures through the whole refiner",
         ("source", "pictures", "changed", "below 45 dB", "below 35 dB", "lowest"),
         refiner.change_rows(measured, undamaged, given.sheets))  # fmt: skip
    show("Speed", ("figure", "goal", "measured"), speed_rows(measured, 2 if given.quick else 5))
    print("\n".join(f"- {note}" for note in notes))
    print(f"- {time.perf_counter() - began:.0f} s with {torch.get_num_threads()} threads.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with photos/ and, optionally, art/check/ and aigi/"
    )
    parser.add_argument("--mapper", help="weights; default: the package's")
    parser.add_argument("--restorer", help="weights; default: the package's")
    parser.add_argument("--judge", help="weights of the acceptance network; default: the package's")
    parser.add_argument(
        "--features", type=Path, help="training pack with EfficientNet-Lite0, for the perceptual distance"
    )
    parser.add_argument(
        "--more", action="append", default=[], metavar="NAME=FOLDER", help="further undamaged pictures"
    )
    parser.add_argument("--sheets", type=Path, metavar="FOLDER", help="write contact sheets")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and smaller pictures: takes minutes, less exact"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="threads of torch; use 1 on a busy machine")
    return parser.parse_args()


def speed_rows(measured: Product, rounds: int) -> list[Row]:
    """Images of 512 x 512 per second, and megapixels per second."""
    images = list(np.random.default_rng(0).integers(0, 256, (8, 512, 512, 3), dtype=np.uint8))
    large, whole = np.tile(images[0], (2, 2, 1)), np.ones((1024, 1024), np.float32)
    threads = f"({torch.get_num_threads()} threads, float32)"
    maps = 8 / seconds(lambda: measured.scores(images), rounds)
    area = 1.048576 / seconds(lambda: measured.restore(large, whole), rounds)
    return [
        ("mapper, 512 x 512, batch 8", "32 images/s", f"{maps:.1f} images/s {threads}"),
        ("restorer, 1024 x 1024", "1.1 Mpx/s", f"{area:.2f} Mpx/s {threads}"),
    ]


def seconds(action: Callable[[], object], rounds: int) -> float:
    """The best of ``rounds`` after a warm-up: other load on the machine only adds time."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times[1:])


if __name__ == "__main__":
    main()
