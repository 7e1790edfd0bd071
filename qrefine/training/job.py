"""What the two training jobs share: their options, and the way from options to weights and a card."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from qrefine.models.weights import save_weights, sha256
from qrefine.quality.map import Image
from qrefine.training.card import Card, write_card
from qrefine.training.loop import Loss, Place, Run, State, train
from qrefine.training.pairs import MARGIN, Recipe
from qrefine.training.photos import Photos, load_photos

Trained = Mapping[str, nn.Module]
"""What the phases so far have made, by their names."""


@dataclass(frozen=True)
class Phase:
    """A part of a training that takes ``share`` of its steps or minutes.

    ``network`` is what it trains (frozen parameters stay as they are), made from what earlier phases have trained.
    ``samples(photos, seed)`` are its training samples; its highest learning rate is ``pace`` times the run's.
    """

    name: str
    share: float
    network: Callable[[Trained], nn.Module]
    loss: Loss
    samples: Callable[[Sequence[Image], int], Dataset[dict[str, np.ndarray]]]
    pace: float = 1.0


@dataclass(frozen=True)
class Task:
    """A network and how it learns: in ``phases``, whose results make the ``whole``. ``recipe`` is the first one's.

    ``start`` gives what phases made, out of a weights file: the first one to be trained starts from it. ``stored``
    is the weights' type in the file.
    """

    title: str
    architecture: str
    phases: tuple[Phase, ...]
    whole: Callable[[Trained], nn.Module]
    start: Callable[[Path], Trained]
    recipe: Recipe
    batch: int
    rate: float
    memory: float
    use: str
    limits: str
    stored: torch.dtype = torch.float32


@dataclass(frozen=True)
class Options:
    """A training job's options, as its command line gives them. ``start``: the first phase to train."""

    photos: tuple[str, ...]
    out: Path
    init: Path | None
    start: str | None
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
    parser.add_argument("--init", type=Path, metavar="WEIGHTS", help="start from these, not from random weights")
    names = [phase.name for phase in task.phases if phase.name]
    parser.add_argument("--from", dest="start", choices=names, metavar="PHASE",
                        help=f"train from this phase on, what is before it is --init's: {', '.join(names)}"
                        if names else argparse.SUPPRESS)  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from OUT's checkpoint")
    parser.add_argument("--batch", type=int, default=task.batch, help="crops in a step, on each worker")
    parser.add_argument("--rate", type=float, default=task.rate, help="highest learning rate")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no bfloat16: for CPUs and GPUs without it")
    parser.add_argument("--reuse", type=int, default=4,
                        help="how often a pair is seen, turned another way each time")  # fmt: skip
    parser.add_argument("--processes", type=int, default=1, help="processes that make pairs, on each worker")
    parser.add_argument("--workers", type=int, default=1, help="train on so many workers with Ray Train")
    return parser


def options(given: argparse.Namespace, task: Task) -> Options:
    """The options of ``task`` from a parsed command line. Raises ValueError for impossible ones."""
    for name in ("batch", "workers"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name} is at least 1, not {getattr(given, name)}")
    run = Run(
        given.steps, given.minutes, given.batch, given.rate, memory=task.memory, seed=given.seed,
        device=given.device, bfloat16=not given.float32, processes=given.processes, reuse=given.reuse,
    )  # fmt: skip
    if given.start and not given.init:
        raise ValueError("--from needs --init: what the phases before it make must come from somewhere")
    return Options(tuple(given.photos), given.out, given.init, given.start, given.resume, given.workers, run)


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
    started = task.start(given.init) if given.init else {}
    trained: dict[str, nn.Module] = {}
    states: dict[str, State] = {}
    first = [phase.name for phase in task.phases].index(given.start) if given.start else 0
    for phase in task.phases[:first]:
        if phase.name not in started:
            raise ValueError(f"{given.init}: holds nothing of the phase {phase.name!r}, which --from leaves out")
        trained[phase.name] = started[phase.name]
    left = sum(phase.share for phase in task.phases[first:])
    for phase in task.phases[first:]:
        torch.manual_seed(given.run.seed)
        net = phase.network(trained)
        if started and not states:
            net.load_state_dict(started[phase.name].state_dict())
        _channels_last(net)
        samples = phase.samples(photos.images, given.run.seed)
        checkpoint = given.out.with_suffix(f"{'.' if phase.name else ''}{phase.name}.checkpoint")
        resume = given.resume and (checkpoint.is_file() or not states)
        run = given.run.part(phase.share / left, phase.pace)
        trained[phase.name], state = train(net, phase.loss, samples, run, checkpoint, resume, wrap, place)
        states[phase.name] = state
        if place.rank == 0 and phase.name:
            print(f"{phase.name}: {_course(state)}", file=sys.stderr, flush=True)
    if place.rank == 0:
        _write(task, given, photos, task.whole(trained), states)


def _channels_last(net: nn.Module) -> None:
    """Weights of convolutions in the layout that is fastest; those of several convolutions at once stay."""
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _course(state: State) -> str:
    first, last = np.mean(state.losses[:100]), np.mean(state.losses[-500:])
    return f"{state.step} steps, loss {first:.4f} -> {last:.4f}"


def _write(task: Task, given: Options, photos: Photos, net: nn.Module, states: Mapping[str, State]) -> None:
    steps, seconds = (sum(getattr(state, of) for state in states.values()) for of in ("step", "seconds"))
    save_weights(
        net, given.out, task.architecture, {"steps": str(steps), "seed": str(given.run.seed)}, task.stored
    )
    count = sum(p.numel() for p in net.parameters())
    names = " ".join(Path(pattern).name for pattern in given.photos) or "none"  # folders are nobody's business
    data = (
        f"{len(photos.images)} clean photographs ({photos.too_small} smaller than the crop and "
        f"{photos.unreadable} unreadable ones left out) from `{names}`, and scenes by "
        f"program (`qrefine/training/scenes.py`) for {task.recipe.scenes:.0%} of the crops"
        f"{'' if photos.images else ' (all of them here)'}. Damage by program: `qrefine/training/degradations.py`."
    )
    resumed = ", ".join(f"{step:,}" for state in states.values() for step in state.resumed)
    of_first = " of the first phase, the others' are in the code" if len(task.phases) > 1 else ""
    began = f", from `{given.init.name}` (sha256 `{sha256(given.init)}`)" if given.init else ""
    recipe = (
        f"{count:,} parameters, {steps:,} steps of {given.run.batch * given.workers} crops of "
        f"{task.recipe.size} px in {seconds / 60:.0f} minutes on {given.run.device}, AdamW with a warm-up "
        f"and half a cosine from {given.run.rate:g}, averaged weights, seed {given.run.seed}{began}"
        f"{f', resumed at step {resumed}; settings may have been others before' if resumed else ''}. "
        f"Shares{of_first}: `{json.dumps({k: v for k, v in asdict(task.recipe).items() if k != 'weights'})}`; "
        f"families: `{json.dumps(dict(task.recipe.weights))}`.\n\n"
        f"```\npython {Path(sys.argv[0]).parent.name}/{Path(sys.argv[0]).name} {shlex.join(_told(given))}\n```"
    )
    courses = [f"{name}: " * bool(name) + _course(state) for name, state in states.items()]
    figures = f"Loss over the first 100 and the last 500 steps: {'; '.join(courses)}."
    card = write_card(Card(task.title, task.use, data, recipe, figures, task.limits), given.out)
    print(f"wrote {given.out} and {card}: {steps} steps, {'; '.join(courses)}")


def _told(given: Options) -> list[str]:
    """The command line that stands in the card: what decides the result, by its plain names."""
    told = [part for pattern in given.photos for part in ("--photos", Path(pattern).name)]
    if given.init:
        told += ["--init", given.init.name]
    if given.start:
        told += ["--from", given.start]
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
