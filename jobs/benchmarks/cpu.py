"""Models on one core: what it brings that memory stays with the process (`keep_memory`)."""

from __future__ import annotations

import sys

from benchmarks.measure import Figure, answer_of, say
from benchmarks.options import Options

ROUNDS = 3
SIDES = (512, 1024)
TRIED = """
import json, resource, sys, time
import numpy as np, torch
from benchmarks.measure import peak_memory
from qrefine.models.heap import keep_memory
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.restorers.embedded import EmbeddedRestorer
way, calls, *sides = sys.argv[1:]
if way == "kept":
    keep_memory()
torch.set_num_threads(1)
mapper, restorer = EmbeddedMapper(patch=64), EmbeddedRestorer()
found = {}
for side in map(int, sides):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    everywhere = np.ones((side, side), np.float32)
    models = {"mapper": lambda: mapper([image]), "restorer": lambda: restorer([image], [everywhere], [""], [0])}
    for name, call in models.items():
        call()
        before, took = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
        for _ in range(int(calls)):
            began = time.perf_counter()
            call()
            took.append(time.perf_counter() - began)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        found[f"{name}, {side} px"] = (min(took), faults / int(calls))
print(json.dumps({"found": found, "peak": peak_memory() / 2**20}))
"""


def run(options: Options) -> list[Figure]:
    """Images/s with memory kept over without, with page faults an image and peak memory; the ways take turns, and
    the best of ROUNDS counts."""
    sides = [str(options.of(side, side // 8)) for side in SIDES]
    best: dict[str, dict[str, tuple[float, float]]] = {"returned": {}, "kept": {}}
    peaks = dict.fromkeys(best, 0.0)
    for _ in range(options.of(ROUNDS, 1)):
        for way, so_far in best.items():
            command = [sys.executable, "-c", TRIED, way, str(options.of(4, 1)), *sides]
            answer = answer_of(command)
            for name, (took, faults) in answer["found"].items():
                so_far[name] = min((took, faults), so_far.get(name, (took, faults)))
            peaks[way] = max(peaks[way], answer["peak"])
            say(f"{way}: {answer['found']}")
    figures = []
    for name, (took, faults) in best["kept"].items():
        before, faults_before = best["returned"][name]
        note = f"{1 / took:.2f} and {1 / before:.2f} images/s; {faults:.0f} and {faults_before:.0f} page faults"
        figures.append(Figure(f"{name}: memory kept / returned, images/s", before / took, "x", "", note))
    note = f"{peaks['kept']:.0f} and {peaks['returned']:.0f} MB"
    figures.append(Figure("peak memory: kept / returned", peaks["kept"] / peaks["returned"], "x", "", note))
    return figures
