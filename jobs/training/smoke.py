"""A quick proof that everything works on a device: some steps of every task, and a sheet of damage to look at."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.damage import EXTRA, KINDS
from training.loop import Schedule, Task, train
from training.pack import Pack
from training.sources import Supply


def sheet(pack: Pack, device: str, size: int = 144) -> Image.Image:
    """Every kind of damage (down) at severities 0 to 1 (across) on a photograph."""
    photo = pack.photos("check")[0][:size, :size]
    clean = torch.from_numpy(photo.transpose(2, 0, 1).copy()).to(device).float()[None] / 255
    generator = torch.Generator(device).manual_seed(0)
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    rows = []
    for kind in {**KINDS, **EXTRA}.values():
        cells = [clean, *(kind.apply(clean, torch.full((1,), s, device=clean.device), generator) for s in levels)]
        rows.append(torch.cat(cells, 3))
    half = (len(rows) + 1) // 2
    rows += [torch.zeros_like(rows[0])] * (2 * half - len(rows))
    return Image.fromarray(_pixels(torch.cat([torch.cat(part, 2) for part in (rows[:half], rows[half:])], 3)[0]))


def _pixels(image: Tensor) -> np.ndarray:
    return (image.permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)


TaskOf = Callable[[str, Supply, int, tuple[Path, ...]], Task]
"""Name, supply, batch size (0: its own) and restorers to learn from -> a task."""


def smoke(
    task_of: TaskOf, schedule_of: Callable[..., Schedule], pack: Path, seconds: float, device: str, out: Path,
    processes: int,
) -> None:  # fmt: skip
    """Trains each task for some seconds and prints its speed; one that fails is told and the next is tried."""
    out.mkdir(parents=True, exist_ok=True)
    gpu = not device.startswith("cpu")
    sheet(Pack(pack), device).save(out / "damage.png")
    restorer = out / "smoke-restorer.safetensors"
    failed = []
    for name in ("restorer", "mapper", "judge"):
        try:
            began = time.monotonic()
            supply = Supply(pack, device, 2000 if gpu else 100, processes)
            task = task_of(name, supply, 0, () if name == "restorer" else (restorer,))
            minutes = (time.monotonic() - began + seconds) / 60
            run = schedule_of(name, device, began, minutes=minutes, reserve=1, warmup=20)
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            try:
                _, state = train(task, run, out / f"smoke-{name}.safetensors", out / f"smoke-{name}.checkpoint")
            finally:
                task.close()
            memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if gpu else ""
            speed = state.crops / state.seconds
            print(f"{name}: {state.step} steps, {speed:.1f} crops/s from the start{memory}", flush=True)
            if gpu:
                _profiled(task_of(name, Supply(pack, device, 0, 0), 0, ()), device)
        except Exception:
            failed.append(name)
            traceback.print_exc(file=sys.stdout)
    print("failed: " + ", ".join(failed) if failed else "all tasks work", flush=True)


def _profiled(of: Task, device: str) -> None:
    """Milliseconds of a step's parts on a GPU: making samples; forward, backward and update."""
    net = of.network().to(device)
    generator = torch.Generator(device).manual_seed(0)
    made, learned = [], []
    for step in range(12):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.no_grad():
            samples = of.samples(step, np.random.default_rng(step), generator)
        torch.cuda.synchronize()
        between = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            of.loss(net, samples, step).backward()
        torch.cuda.synchronize()
        made.append(between - begin)
        learned.append(time.perf_counter() - between)
    of.close()
    print(f"  ms a step: samples {1e3 * np.median(made):.1f}, learning {1e3 * np.median(learned):.1f}", flush=True)
