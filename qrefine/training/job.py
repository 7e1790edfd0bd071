"""What the two training jobs share: their options, and the way from options to weights and a card."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from qrefine.models.weights import save_weights
from qrefine.quality.map import Image
from qrefine.training.card import Card, write_card
from qrefine.training.loop import Loss, Place, Run, State, train
from qrefine.training.pairs import MARGIN, Recipe
from qrefine.training.photos import Photos, load_photos


@dataclass(frozen=True)
class Task:
    """A network and how it learns. ``samples(photos, seed)`` are its training samples."""

    title: str
    architecture: str
    network: Callable[[], nn.Module]
    loss: Loss
    samples: Callable[[Sequence[Image], int], Dataset[dict[str, np.ndarray]]]
    recipe: Recipe
    batch: int
    rate: float
    memory: float
    use: str
    limits: str


@dataclass(frozen=True)
class Options:
    """A training job's options, as its command line gives them."""

    photos: tuple[str, ...]
    out: Path
    resume: bool
    workers: int
    run: Run


def arguments(description: str, out: str, task: Task) -> argparse.ArgumentParser:
    """The options that both jobs take."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    parser.add_argument("--photos", action="append", default=[], metavar="GLOB",
                        help="clean photos: tars, folders, images; repeatable; none: scenes only")  # fmt: skip
    parser.add_argument("--minutes", type=float, help="end after this long")
    parser.add_argument(
        "--steps", type=int, help="end after this many steps: the same bytes for the same settings"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(out), help="weights; the card goes beside them")
    parser.add_argument("--resume", action="store_true", help="go on from OUT's checkpoint")
    parser.add_argument("--batch", type=int, default=task.batch, help="crops in a step, on each worker")
    parser.add_argument("--rate", type=float, default=task.rate, help="highest learning rate")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no bfloat16: for CPUs and GPUs without it")
    parser.add_argument("--processes", type=int, default=1, help="processes that make pairs, on each worker")
    parser.add_argument("--workers", type=int, default=1, help="train on so many workers with Ray Train")
    return parser


def options(given: argparse.Namespace, task: Task) -> Options:
    """The options of ``task`` from a parsed command line. Raises ValueError for impossible ones."""
    for name in ("batch", "workers"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name} is at least 1, not {getattr(given, name)}")
    run = Run(
        given.steps, given.minutes, given.batch, given.rate, memory=task.memory,
        seed=given.seed, device=given.device, bfloat16=not given.float32, processes=given.processes,
    )  # fmt: skip
    return Options(tuple(given.photos), given.out, given.resume, given.workers, run)


def photos_for(task: Task, patterns: Sequence[str]) -> Photos:
    """The photos that are large enough for the task's crops."""
    return load_photos(patterns, task.recipe.size + MARGIN)


def run_task(
    task: Task,
    given: Options,
    wrap: Callable[[nn.Module], nn.Module] = lambda net: net,
    place: Place = Place(),  # noqa: B008 (frozen)
) -> None:
    """Trains, and on rank 0 writes the weights and the card."""
    photos = photos_for(task, given.photos)
    torch.manual_seed(given.run.seed)
    net = task.network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it
    samples = task.samples(photos.images, given.run.seed)
    checkpoint = given.out.with_suffix(".checkpoint")
    average, state = train(net, task.loss, samples, given.run, checkpoint, given.resume, wrap, place)
    if place.rank == 0:
        _write(task, given, photos, average, state)


def _write(task: Task, given: Options, photos: Photos, net: nn.Module, state: State) -> None:
    save_weights(net, given.out, task.architecture, {"steps": str(state.step), "seed": str(given.run.seed)})
    count = sum(p.numel() for p in net.parameters())
    first, last = np.mean(state.losses[:100]), np.mean(state.losses[-500:])
    names = " ".join(Path(pattern).name for pattern in given.photos) or "none"  # folders are nobody's business
    data = (
        f"{len(photos.images)} clean photographs ({photos.too_small} smaller than the crop and "
        f"{photos.unreadable} unreadable ones left out) from `{names}`, and scenes by "
        f"program (`qrefine/training/scenes.py`) for {task.recipe.scenes:.0%} of the crops"
        f"{'' if photos.images else ' (all of them here)'}. Damage by program: `qrefine/training/degradations.py`."
    )
    resumed = ", ".join(f"{step:,}" for step in state.resumed)
    recipe = (
        f"{count:,} parameters, {state.step:,} steps of {given.run.batch * given.workers} crops of "
        f"{task.recipe.size} px in {state.seconds / 60:.0f} minutes on {given.run.device}, AdamW with a warm-up "
        f"and half a cosine from {given.run.rate:g}, averaged weights, seed {given.run.seed}"
        f"{f', resumed at step {resumed}; settings may have been others before' if resumed else ''}. "
        f"Shares: `{json.dumps({k: v for k, v in asdict(task.recipe).items() if k != 'weights'})}`; "
        f"families: `{json.dumps(dict(task.recipe.weights))}`.\n\n"
        f"```\npython {Path(sys.argv[0]).parent.name}/{Path(sys.argv[0]).name} {shlex.join(_told(given))}\n```"
    )
    figures = f"Loss over the first 100 steps {first:.4f}, over the last 500 {last:.4f}."
    card = write_card(Card(task.title, task.use, data, recipe, figures, task.limits), given.out)
    print(f"wrote {given.out} and {card}: {state.step} steps, loss {first:.4f} -> {last:.4f}")


def _told(given: Options) -> list[str]:
    """The command line that stands in the card: what decides the result, by its plain names."""
    told = [part for pattern in given.photos for part in ("--photos", Path(pattern).name)]
    if given.run.steps:
        told += ["--steps", str(given.run.steps)]
    if given.run.minutes:
        told += ["--minutes", f"{given.run.minutes:g}"]
    return [*told, "--seed", str(given.run.seed), "--batch", str(given.run.batch), "--rate", f"{given.run.rate:g}"]


def main(body: Callable[[], None]) -> int:
    """Runs a job's body: 0, or 2 with one line where its input is at fault."""
    try:
        body()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
