"""All that a GPU is asked, in eight minutes: `python jobs/bench.py gpu [--out gpu.json] [--minutes 8]`.

Runs the tests that need a GPU; the mapper's images/s; then SDXL-size and Z-Image-size models of random weights in
bfloat16. For each, on images with defects of mixed sizes: stock diffusers one by one and in batches; qrefine with
crops enlarged and at the image's resolution; with one crop size, plain and compiled. Of each pass images/s, the
share of the time in which the GPU is busy (as nvidia-smi tells it) and the peak of its memory.

Each section is a process of its own, which ends when its time is over; what it measured until then stays in the
JSON, and what it did not is listed as ``left_out``. ``--tiny`` runs all of it at tiny sizes, also on a CPU, to
test the script; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

from benchmarks.diffusion import Corpus, make_corpus, random_mapper, refined, seconds, stock
from qrefine.models.diffusion.img2img import DiffusersRestorer
from qrefine.models.diffusion.random_models import SIDES, TINY_SIDE, random_pipeline
from qrefine.stages.crops import defect_crops

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {"tests": 0.25, "mapper": 0.1, "sdxl": 0.4, "zimage": 0.25}  # shares of the time
STEPS = {"sdxl": 30, "zimage": 8}
CALLS: dict[str, dict[str, Any]] = {"sdxl": {"guidance_scale": 5.0}, "zimage": {"guidance_scale": 0.0}}
BATCH = 4
AREAS = (0.02, 0.08, 0.15, 0.4)  # of the image, in turn
SHAPES = (1.0, 2.0, 0.5)  # height by width, in turn
STRENGTH = 0.5
VARIANTS: dict[str, dict[str, Any]] = {
    "qrefine": {},
    "qrefine_at_image_resolution": {"crop_area": "image"},
    "qrefine_one_size": {"buckets": "one"},
    "qrefine_one_size_compiled": {"buckets": "one", "compile": True},
}


def mixed_corpus(count: int, side: int) -> Corpus:
    """`make_corpus` with one defect of another size and shape in each image that has one."""
    corpus = make_corpus(count, side)
    rng = np.random.default_rng(1)
    strengths = []
    for i, plane in enumerate(corpus.strengths):
        own = np.zeros_like(plane)
        if plane.any():
            tall = min(side, round(side * (AREAS[i % len(AREAS)] * SHAPES[i % len(SHAPES)]) ** 0.5))
            wide = min(side, round(side * (AREAS[i % len(AREAS)] / SHAPES[i % len(SHAPES)]) ** 0.5))
            top, left = rng.integers(0, side - tall + 1), rng.integers(0, side - wide + 1)
            own[top : top + tall, left : left + wide] = STRENGTH
        strengths.append(own)
    return Corpus(corpus.images, strengths, corpus.prompts)


@contextlib.contextmanager
def busy() -> Iterator[dict[str, float | None]]:
    """While it runs, the share of the time in which the GPU computes, at 5 Hz; None without nvidia-smi."""
    found: dict[str, float | None] = {"busy": None}
    query = [
        "nvidia-smi",
        "--query-gpu=utilization.gpu",
        "--format=csv,noheader,nounits",
        "-i",
        "0",
        "-lms",
        "200",
    ]
    try:
        watcher = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield found
        return
    try:
        yield found
    finally:
        watcher.terminate()
        lines = watcher.communicate()[0].split()
        if values := [int(line) for line in lines if line.isdigit()]:
            found["busy"] = sum(values) / len(values) / 100


@dataclass
class Section:
    """What a section measured, written to its file after each figure."""

    path: Path
    device: torch.device
    tiny: bool
    images: int
    found: dict[str, Any] = field(default_factory=dict)

    def write(self, name: str, value: Any) -> None:
        self.found[name] = value
        self.path.write_text(json.dumps(self.found))

    def timed(self, name: str, work: Callable[[], object], images: int) -> None:
        """Images/s, busy share and peak memory of ``work``, which was warmed up."""
        gpu = self.device.type == "cuda"
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        with busy() as share:
            took = seconds(work, self.device)
        peak = torch.cuda.max_memory_allocated() / 2**30 if gpu else None
        self.write(name, {"images_per_second": images / took, "peak_gib": peak, **share})


def run_tests(section: Section) -> None:
    """The tests that are marked gpu, all of them about models; without a GPU each of them is skipped."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--no-header", "-p", "no:cacheprovider"]
    command.append("tests/models")  # collecting the others takes longer than these tests
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    section.write("tests", {"exit_code": done.returncode, "last_line": done.stdout.strip().rpartition("\n")[2]})


def run_mapper(section: Section) -> None:
    side = TINY_SIDE if section.tiny else 1024
    images = make_corpus(4 if section.tiny else 256, side).images
    mapper = random_mapper(section.device)
    mapper(images[:16])
    section.timed("roi_pool", lambda: mapper(images), len(images))


def run_model(section: Section, model: str) -> None:
    """Stock diffusers, then ours: the same images, and the model's own number of steps."""
    gpu = section.device.type == "cuda"
    side = TINY_SIDE if section.tiny else SIDES[model]
    steps = 2 if section.tiny else STEPS[model]
    corpus = mixed_corpus(section.images, side)
    base = random_pipeline(model, section.device, torch.bfloat16 if gpu else torch.float32, tiny=section.tiny)
    inpainting = AutoPipelineForInpainting.from_pipe(base)
    inpainting.set_progress_bar_config(disable=True)
    few = Corpus(corpus.images[-BATCH:], corpus.strengths[-BATCH:], corpus.prompts[-BATCH:])
    for name, batch in (("stock", 1), ("stock_batched", BATCH)):
        work = partial(stock, inpainting, corpus, steps, batch, **CALLS[model])
        stock(inpainting, few, steps, batch, **CALLS[model])
        section.timed(name, work, len(corpus))
    mapper = random_mapper(section.device)
    for name, own in VARIANTS.items():
        options = {"warmup": True, "batch_size": BATCH, "steps": steps, **own}
        tiny_transformer = section.tiny and not hasattr(base, "unet")  # its native size stays that of the family
        if tiny_transformer or own.get("buckets") == "one":
            options["buckets"] = [[side, side]]
        began = time.perf_counter()
        restorer = DiffusersRestorer(AutoPipelineForImage2Image.from_pipe(base), **options)
        refined(mapper, restorer, few)
        warm = time.perf_counter() - began
        crops = [crop.size for plane in corpus.strengths for crop in defect_crops(plane, restorer)]
        section.timed(name, partial(refined, mapper, restorer, corpus), len(corpus))
        sizes = {f"{h}x{w}": crops.count((h, w)) for h, w in sorted(set(crops))}
        section.write(name, {**section.found[name], "start_seconds": warm, "crop_sizes": sizes})


def run_section(name: str, section: Section) -> None:
    if name in STEPS:
        run_model(section, name)
    else:
        {"tests": run_tests, "mapper": run_mapper}[name](section)


def expected(name: str) -> tuple[str, ...]:
    """The figures that a section comes to."""
    return {"tests": ("tests",), "mapper": ("roi_pool",)}.get(name, ("stock", "stock_batched", *VARIANTS))


def all_sections(out: Path, options: argparse.Namespace, machine: dict[str, Any]) -> dict[str, Any]:
    """Each section in a process of its own, for at most its share of the time and what others left."""
    result: dict[str, Any] = {"machine": machine, "sections": {}, "left_out": {}}
    end = time.monotonic() + 60 * options.minutes
    shares = dict(SECTIONS)
    for name in SECTIONS:
        left = max(1.0, end - time.monotonic())
        limit = left * shares[name] / sum(shares.values())
        del shares[name]
        path = out.with_suffix(f".{name}.part")
        path.unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / "jobs" / "bench.py"), "gpu", "--section", name, "--out", str(path)]
        command += ["--images", str(options.images), *(["--tiny"] if options.tiny else [])]
        began, reason = time.monotonic(), None
        try:
            done = subprocess.run(command, timeout=limit, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = done.stderr.strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            reason = f"over after {limit:.0f} s"
        found = json.loads(path.read_text()) if path.is_file() else {}
        path.unlink(missing_ok=True)
        result["sections"][name] = {**found, "seconds": time.monotonic() - began}
        if missing := [figure for figure in expected(name) if figure not in found]:
            result["left_out"][name] = {"figures": missing, "reason": reason}
        out.write_text(json.dumps(result, indent=2) + "\n")
    return result


def report(result: dict[str, Any]) -> str:
    lines = [f"{result['machine']['device']}{' (tiny: no figures)' if result['machine']['tiny'] else ''}"]
    for name, found in result["sections"].items():
        for figure, value in found.items():
            if isinstance(value, dict) and "images_per_second" in value:
                share, peak = value["busy"], value["peak_gib"]
                rest = f"   busy {share:.0%}" if share is not None else ""
                rest += f"   peak {peak:.1f} GiB" if peak is not None else ""
                lines.append(f"{name:<8}{figure:<30}{value['images_per_second']:>9.3f} images/s{rest}")
            elif figure == "tests":
                lines.append(f"{name:<8}{value['last_line']}")
    lines += [
        f"{name:<8}left out: {', '.join(v['figures'])} ({v['reason']})" for name, v in result["left_out"].items()
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the figures as JSON")
    parser.add_argument("--minutes", type=float, default=8, help="all sections end after this time")
    parser.add_argument("--images", type=int, default=20, help="images of each pass")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the script")
    parser.add_argument("--section", choices=tuple(SECTIONS), help="this one alone, in this process")
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        print("error: there is no GPU here; --tiny runs in miniature")
        return 2
    if options.section:
        run_section(options.section, Section(options.out, device, options.tiny, options.images))
        return 0
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    machine = {"device": name, "tiny": options.tiny, "images": options.images}
    machine |= {"torch": torch.__version__, "diffusers": diffusers.__version__}
    result = all_sections(options.out, options, machine)
    print(report(result))
    return 1 if result["left_out"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
