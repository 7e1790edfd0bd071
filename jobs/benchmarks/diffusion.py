"""Benefit of refining only defects on a GPU: images/s against stock diffusers, in one run.

    python jobs/bench.py diffusion --model sdxl [--images 40] [--batch 8] [--area image] [--compile]

Models of real size with random weights (`random_models`); 30 steps, strength 0.5. In the corpus 40 % of the
images need nothing and the others have one defect of 15 % of their area. Over the same images:

(a) stock inpainting by diffusers, one image at a time;
(b) the same in batches;
(c) qrefine: every image scored (PaQ-2-PiQ's network, random weights), defects cropped, batched, pasted back,
    and changed images scored again. The defects are given, since random weights cannot find them.

Also measures the GPU's peak on a large bfloat16 matrix product and the share of it that the U-Net reaches in (c).
``--tiny`` runs everything at tiny sizes, also on a CPU, to test the script; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting
from torch.utils.flop_counter import FlopCounterMode

from qrefine.models.diffusion.img2img import DiffusersRestorer
from qrefine.models.diffusion.random_models import SIDES, TINY_SIDE, random_pipeline
from qrefine.models.mappers.roi_pool import RoiPoolMapper, RoIPoolModel
from qrefine.quality.map import Image, Plane
from qrefine.stages.crops import defect_crops, restore_defects

CLEAN_SHARE = 0.4
DEFECT_AREA = 0.15
STRENGTH = 0.5  # of the steps in (a) and (b), of the noise in (c): nearly the same for SD and SDXL
PEAK_SIDE = 8192


@dataclass(frozen=True)
class Corpus:
    images: list[Image]
    strengths: list[Plane]
    prompts: list[str]

    def __len__(self) -> int:
        return len(self.images)


def make_corpus(count: int, side: int) -> Corpus:
    """Smooth random images; the first CLEAN_SHARE of each ten need nothing, the others have one square defect."""
    rng = np.random.default_rng(0)
    images, strengths = [], []
    for i in range(count):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        images.append(np.asarray(coarse.resize((side, side), PIL.Image.Resampling.BICUBIC)))
        plane = np.zeros((side, side), np.float32)
        if i % 10 >= 10 * CLEAN_SHARE:
            edge = round(side * DEFECT_AREA**0.5)
            top, left = rng.integers(0, side - edge + 1, 2)
            plane[top : top + edge, left : left + edge] = STRENGTH
        strengths.append(plane)
    return Corpus(images, strengths, [f"prompt {chr(97 + i % 26)}" for i in range(count)])


def stock(pipe: Any, corpus: Corpus, steps: int, batch: int, **call: Any) -> None:
    """Inpainting of every image by diffusers alone, ``batch`` at a time; the clean ones with an empty mask."""
    for start in range(0, len(corpus), batch):
        part = slice(start, start + batch)
        masks = [PIL.Image.fromarray((plane > 0).astype(np.uint8) * 255) for plane in corpus.strengths[part]]
        side = corpus.images[0].shape[0]
        pipe(
            prompt=corpus.prompts[part],
            image=[PIL.Image.fromarray(image) for image in corpus.images[part]],
            mask_image=masks,
            strength=STRENGTH,
            num_inference_steps=steps,
            height=side,
            width=side,
            generator=[torch.Generator().manual_seed(start + i) for i in range(len(masks))],
            **call,
        )


def refined(mapper: RoiPoolMapper, restorer: DiffusersRestorer, corpus: Corpus) -> None:
    """Score all images, restore the defects, score changed images again."""
    mapper(corpus.images)
    results = restore_defects(restorer, corpus.images, corpus.strengths, corpus.prompts, list(range(len(corpus))))
    changed = [new for new, old in zip(results, corpus.images, strict=True) if new is not old]
    if changed:
        mapper(changed)


def random_mapper(device: torch.device) -> RoiPoolMapper:
    """PaQ-2-PiQ's network with random weights."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "roi_pool.pt"
        torch.save(RoIPoolModel().state_dict(), weights)
        return RoiPoolMapper(str(weights), device=str(device))


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of the work, including the device's."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def matrix_peak(device: torch.device, side: int, repeats: int = 20) -> float:
    """FLOP/s of bfloat16 matrix products on the device, the reference for the U-Net."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b

    def work() -> None:
        for _ in range(repeats):
            a @ b

    return 2 * side**3 * repeats / seconds(work, device)


@dataclass
class UnetTime:
    """FLOPs and time of the U-Net."""

    flops: float = 0.0
    seconds: float = 0.0


def unet_share(restorer: DiffusersRestorer, corpus: Corpus, peak: float) -> dict[str, float]:
    """One pass of (c) with each U-Net call timed; its FLOPs are counted once per shape."""
    unet = restorer.pipe.unet
    forward, found, flops = unet.forward, UnetTime(), {}
    device = restorer.pipe.device

    def timed(sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        shape = tuple(sample.shape)
        if shape not in flops:
            with FlopCounterMode(display=False) as counter:
                forward(sample, *args, **kwargs)
            flops[shape] = counter.get_total_flops()
        results = []
        found.seconds += seconds(lambda: results.append(forward(sample, *args, **kwargs)), device)
        found.flops += flops[shape]
        return results[0]

    unet.forward = timed
    try:
        restore_defects(restorer, corpus.images, corpus.strengths, corpus.prompts, list(range(len(corpus))))
    finally:
        unet.forward = forward
    rate = found.flops / found.seconds if found.seconds else 0.0  # no defect in the corpus
    return {"unet_tflops": rate / 1e12, "unet_seconds": found.seconds, "peak_share": rate / peak}


def speeds(images: int, times: dict[str, float]) -> dict[str, Any]:
    """Images/s from the seconds of (a), (b) and (c), and how many times as fast (c) is."""
    return {
        "images_per_second": {name: images / value for name, value in times.items()},
        "c_over_a": times["a"] / times["c"],
        "c_over_b": times["b"] / times["c"],
    }


def bench(
    model: str,
    *,
    images: int,
    batch: int,
    steps: int,
    tiny: bool,
    compiled: bool,
    device: torch.device,
    area: str = "native",
) -> dict[str, Any]:
    """All three over the same corpus, each warmed up first; plain data."""
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    side = TINY_SIDE if tiny else SIDES[model]
    corpus = make_corpus(images, side)
    base = random_pipeline(model, device, dtype, tiny=tiny)
    inpainting = AutoPipelineForInpainting.from_pipe(base)
    inpainting.set_progress_bar_config(disable=True)
    warm = Corpus(corpus.images[-batch:], corpus.strengths[-batch:], corpus.prompts[-batch:])
    first = Corpus(warm.images[:1], warm.strengths[:1], warm.prompts[:1])
    times = {}
    stock(inpainting, first, steps, 1)
    times["a"] = seconds(lambda: stock(inpainting, corpus, steps, 1), device)
    stock(inpainting, warm, steps, batch)
    times["b"] = seconds(lambda: stock(inpainting, corpus, steps, batch), device)

    mapper = random_mapper(device)
    restorer = DiffusersRestorer(
        AutoPipelineForImage2Image.from_pipe(base),
        steps=steps,
        compile=compiled,
        crop_area=area,
        warmup=True,
        batch_size=max(1, batch // 2),
    )
    refined(mapper, restorer, corpus)  # warm up the scorer's shapes too
    times["c"] = seconds(lambda: refined(mapper, restorer, corpus), device)
    peak = matrix_peak(device, 256 if tiny else PEAK_SIDE)
    crops = [crop.size for plane in corpus.strengths for crop in defect_crops(plane, restorer)]
    return {
        "model": model,
        "tiny": tiny,
        "side": side,
        "images": images,
        "broken": sum(bool(plane.any()) for plane in corpus.strengths),
        "steps": steps,
        "strength": STRENGTH,
        "batch": batch,
        "compiled": compiled,
        "crop_area": area,
        "crop_sizes": {f"{h}x{w}": crops.count((h, w)) for h, w in sorted(set(crops))},
        **speeds(images, times),
        "matrix_peak_tflops": peak / 1e12,
        **unet_share(restorer, corpus, peak),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
    }


def report(result: dict[str, Any]) -> str:
    rates = result["images_per_second"]
    names = {"a": "(a) stock, one by one", "b": "(b) stock, batched", "c": "(c) qrefine"}
    note = " (tiny: no figures)" if result["tiny"] else ""
    lines = [f"{result['model']}{note}, {result['side']} px on {result['device']}"]
    lines += [f"{label:<24}{rates[key]:>10.3f} images/s" for key, label in names.items()]
    goals = (
        (", goal 6", ", goal 3") if result["crop_area"] == "image" else ("", "")
    )  # enlarged, a crop costs an image
    lines.append(f"(c) is {result['c_over_a']:.2f} x (a){goals[0]}, and {result['c_over_b']:.2f} x (b){goals[1]}")
    lines.append(
        f"U-Net {result['unet_tflops']:.1f} TFLOP/s, {result['peak_share']:.0%} of the measured"
        f" {result['matrix_peak_tflops']:.1f}"
    )
    return "\n".join(lines)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", choices=("sd15", "sdxl"), default="sdxl")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument(
        "--batch", type=int, default=8, help="batch size of (b); (c) uses half of it for full-size crops"
    )
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--area", choices=("native", "image"), default="native", help="crop_area of (c)")
    parser.add_argument("--compile", action="store_true", help="compile the repeated blocks in (c)")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to test the script")
    parser.add_argument("--out", help="write the figures as JSON")
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        print("error: there is no GPU here; --tiny runs in miniature")
        return 2
    result = bench(
        options.model,
        images=options.images,
        batch=options.batch,
        steps=options.steps,
        tiny=options.tiny,
        compiled=options.compile,
        device=device,
        area=options.area,
    )
    print(report(result))
    if options.out:
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
