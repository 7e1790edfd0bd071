"""Benchmarks: every figure is a ratio from one run, or comes with what it was measured against.

python jobs/bench.py quick                     (make bench-quick: what a change may have cost, in five minutes)
python jobs/bench.py NAME ... [--photos GLOB] [--out bench.json]
python jobs/bench.py diffusion --model sdxl    (on a GPU; options of its own)
python jobs/bench.py gpu --out gpu.json        (all that a GPU is asked, in eight minutes)
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.against import JOBS
from benchmarks.measure import as_json, say, show
from benchmarks.options import Options
from training.pictures import shards

BENCHMARKS = (
    "quick", "efficiency", "against", "scale", "savings", "scorer", "startup", "reading", "billion", "cpu",
)  # fmt: skip
LEAST_SIDE = 256  # of the photographs that a corpus is made of
PACKAGES = ("qrefine", "ray", "torch", "pyarrow", "deltalake", "webdataset")


def main(arguments: list[str]) -> int:
    """Run the named benchmarks; returns the exit code."""
    if arguments[:1] in (["diffusion"], ["gpu"]):
        return int(importlib.import_module(f"benchmarks.{arguments[0]}").main(arguments[1:]))
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("names", nargs="+", choices=BENCHMARKS, metavar="NAME", help=" | ".join(BENCHMARKS))
    parser.add_argument(
        "--photos",
        action="append",
        default=[],
        metavar="GLOB",
        help="photographs to use instead of synthetic scenes",
    )
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument(
        "--job",
        action="append",
        default=[],
        metavar="NAME",
        choices=JOBS,
        help=f"of `against`: {' | '.join(JOBS)}",
    )
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the script: figures mean nothing")
    given = parser.parse_args(arguments)
    machine = {
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "tiny": given.tiny,
        **{name: version(name) for name in PACKAGES},
    }
    found = [image for pattern in given.photos for image in shards(pattern).values()]
    photos = [image for image in found if min(image.shape[:2]) >= LEAST_SIDE]
    results = {}
    for name in given.names:
        with tempfile.TemporaryDirectory(prefix="qrefine-bench-") as folder:
            say(f"{name} ...")
            results[name] = importlib.import_module(f"benchmarks.{name}").run(
                Options(Path(folder), photos, given.tiny, given.job)
            )
        show(f"{name}{' (tiny: no figures)' if given.tiny else ''}", results[name])
        if given.out:
            given.out.write_text(as_json(results, machine))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
