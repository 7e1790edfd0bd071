"""One training loop for all networks: seeded, resumable, on any device, with averaged weights at the end.

Under ``steps`` on a CPU a run is a function of its settings. Under ``minutes`` the clock drives the learning rate,
so that a run ends on time however busy the machine is. Nothing in the loop waits for a GPU but the report.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from training import tensors
from training.replay import Replay, Samples


class Task(Protocol):
    """What is trained: a network, where its samples come from, and what is wrong with its answers."""

    title: str
    architecture: str
    stored: torch.dtype  # of the weights file

    def network(self) -> nn.Module:
        """A fresh network; random draws come from torch's global generator."""

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> Samples:
        """A batch on the device, first axis the samples. Called without gradients, in float32."""

    def loss(self, net: nn.Module, samples: Samples, step: int) -> Tensor:
        """A scalar, under autocast."""

    def notes(self) -> str:
        """What a line of the log should tell besides, "" for nothing."""

    def close(self) -> None:
        """Ends what runs in the background."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. One of ``steps`` and ``minutes`` must be above 0; the first to end ends the run.

    ``minutes`` count from ``began`` (``time.monotonic``), and over all pieces of a run that was resumed.
    ``parts``: steps that one batch of samples serves, dealt out to them: on a GPU making samples is bound by
    launches, and twice as many take hardly longer. ``reuse``: how often a sample is served, from a pool of
    ``room`` (``replay``); a run that is resumed begins with an empty pool. ``reserve``: seconds at the end for
    writing what was learned. ``warmup``: steps. ``saving``: seconds between checkpoints. ``bfloat16``: None is on
    a GPU alone; CPUs without AMX are ten times slower at it.
    """

    steps: int = 0
    minutes: float = 0
    lr: float = 1e-3
    warmup: int = 200
    beta2: float = 0.99
    weight_decay: float = 1e-4
    ema_decay: float = 0.999
    clip: float = 1.0
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool | None = None
    parts: int = 1
    reuse: int = 1
    room: int = 8192
    reserve: float = 6.0
    saving: float = 60.0
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.steps <= 0 and self.minutes <= 0:
            raise ValueError("a run needs --steps or --minutes above 0")

    def progress(self, step: int, seconds: float) -> float:
        """The share of the run that is over, in [0, 1]."""
        by_step = step / self.steps if self.steps > 0 else 0.0
        by_clock = seconds / max(1.0, 60 * self.minutes - self.reserve) if self.minutes > 0 else 0.0
        return min(1.0, max(by_step, by_clock))

    def lr_at(self, step: int, progress: float) -> float:
        """Linear warm-up, then half a cosine down to a hundredth."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return self.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass
class State:
    """Where a run stands: everything a checkpoint holds besides tensors."""

    step: int = 0
    seconds: float = 0.0
    crops: int = 0
    losses: list[float] = field(default_factory=list)  # means between two lines of the log
    resumed: list[int] = field(default_factory=list)


def train(
    task: Task, run: Schedule, out: Path | None = None, checkpoint: Path | None = None, resume: bool = False,
    init: Path | None = None,
) -> tuple[nn.Module, State]:  # fmt: skip
    """Trains ``task``; gives the network with averaged weights and the final state.

    ``out`` gets the averaged weights, and ``checkpoint`` all that ``resume`` needs, each minute and at the end,
    each at once or not at all. ``init``: weights to start from. ValueError where there is nothing to resume, or
    the weights are another network's.
    """
    device = torch.device(run.device)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = device.type == "cuda"
    torch.manual_seed(run.seed)
    net = task.network().to(device)
    if init is not None:
        filled(net, init, task.architecture)
    _channels_last(net)
    average = deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.AdamW(
        net.parameters(), run.lr, (0.9, run.beta2), weight_decay=run.weight_decay, fused=device.type == "cuda"
    )
    state = _restored(checkpoint, net, average, optimiser, device) if resume else State()
    began = run.began if not state.step else time.monotonic() - state.seconds
    bfloat16 = device.type != "cpu" if run.bfloat16 is None else run.bfloat16
    log, saved, first = _Log(task, run, state), time.monotonic(), True
    generator, pool = torch.Generator(device), Replay(run.room) if run.reuse > 1 else None
    state.seconds = max(state.seconds, time.monotonic() - began)
    while run.progress(state.step, state.seconds) < 1:
        generator.manual_seed(hash((run.seed, state.step)) % 2**62)
        rng = np.random.default_rng((run.seed, state.step))
        with torch.no_grad():
            samples = task.samples(state.step, rng, generator)
        for part in parts(samples, run.parts) if pool is None else served(pool, samples, run, rng):
            if 0 < run.steps <= state.step:
                break
            lr = run.lr_at(state.step, run.progress(state.step, state.seconds))
            for group in optimiser.param_groups:
                group["lr"] = lr
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                loss = task.loss(net, part, state.step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            _step(net, optimiser, run.clip)
            state.step += 1
            state.crops += len(next(iter(part.values())))
            follow(average, net, min(run.ema_decay, (1 + state.step) / (10 + state.step)))
        state.seconds = time.monotonic() - began
        log(loss.detach(), lr)
        if time.monotonic() - saved > (min(20.0, run.saving) if first else run.saving):
            _save(task, run, net, average, optimiser, state, out, checkpoint)
            saved, first = time.monotonic(), False
    log.end()
    _save(task, run, net, average, optimiser, state, out, checkpoint)
    return average, state


def filled(net: nn.Module, path: Path, architecture: str) -> None:
    """Loads weights into ``net``; ValueError where they are another network's."""
    weights, notes = tensors.load(path)
    try:
        if notes.get("architecture") != architecture:
            raise RuntimeError(f"found {notes.get('architecture')}")
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: not weights of {architecture}: {str(error).splitlines()[0]}") from None


def parts(samples: Samples, count: int) -> list[Samples]:
    """The samples dealt out to ``count`` batches, every count-th to one: kinds that lie together are spread."""
    return [{name: value[first::count] for name, value in samples.items()} for first in range(count)]


def served(pool: Replay, samples: Samples, run: Schedule, rng: np.random.Generator) -> Iterator[Samples]:
    """As many batches from the pool as serve each of ``samples`` ``run.reuse`` times on average."""
    pool.put(samples)
    first = next(iter(samples.values()))
    pixels = first.shape[0] * first.shape[2] * first.shape[3] / run.parts
    for _ in range(run.parts * run.reuse):
        yield pool.draw(pixels, rng)


def _step(net: nn.Module, optimiser: torch.optim.Optimizer, clip: float) -> None:
    """A step of the optimiser, left out where a gradient is not finite. Does not wait for a GPU."""
    norm = nn.utils.clip_grad_norm_(net.parameters(), clip)
    if norm.device.type == "cuda":  # the fused optimiser looks at the flag on the device
        optimiser.grad_scale = None  # type: ignore[attr-defined]
        optimiser.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        optimiser.step()
    elif torch.isfinite(norm):
        optimiser.step()


def _channels_last(net: nn.Module) -> None:
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Moves ``average`` towards ``net``: parameters and running statistics; counters are copied."""
    to, of = average.state_dict(), net.state_dict()
    floats = [name for name, value in to.items() if value.is_floating_point()]
    torch._foreach_lerp_([to[name] for name in floats], [of[name] for name in floats], 1 - decay)
    for name in to.keys() - set(floats):
        to[name].copy_(of[name])


def _save(
    task: Task, run: Schedule, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, state: State,
    out: Path | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    if out is not None:
        notes = {"architecture": task.architecture, "steps": str(state.step), "seed": str(run.seed)}
        weights = {
            name: value.to(task.stored) if value.is_floating_point() else value
            for name, value in average.state_dict().items()
        }
        tensors.save(out, weights, notes)
    if checkpoint is not None:
        whole = {
            "architecture": task.architecture, "net": net.state_dict(), "average": average.state_dict(),
            "optimiser": optimiser.state_dict(), "state": asdict(state),
        }  # fmt: skip
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        new = checkpoint.with_name(checkpoint.name + ".new")
        torch.save(whole, new)
        os.replace(new, checkpoint)


def _restored(
    path: Path | None, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
) -> State:
    if path is None or not path.is_file():
        raise ValueError(f"{path}: no checkpoint to resume from")
    try:
        whole = torch.load(path, map_location=device, weights_only=True)
        net.load_state_dict(whole["net"])
        average.load_state_dict(whole["average"])
        optimiser.load_state_dict(whole["optimiser"])
        state = State(**whole["state"])
    except Exception as error:  # torch raises a dozen kinds for a damaged or foreign file
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not a checkpoint of this training: {why}") from None
    state.resumed.append(state.step)
    return state


class _Log:
    """A plain line each ten seconds: time, steps, crops/s, loss, learning rate."""

    EVERY = 10.0

    def __init__(self, task: Task, run: Schedule, state: State) -> None:
        self._task, self._run, self._state = task, run, state
        self._total: Tensor | None = None
        self._count = 0
        self._at, self._crops = time.monotonic(), state.crops

    def __call__(self, loss: Tensor, lr: float) -> None:
        self._total = loss if self._total is None else self._total + loss
        self._count += 1
        if time.monotonic() - self._at > self.EVERY:
            self.line(lr)

    def line(self, lr: float) -> None:
        if self._total is None:
            return
        mean, now = float(self._total) / self._count, time.monotonic()
        speed = (self._state.crops - self._crops) / max(1e-9, now - self._at)
        self._state.losses.append(mean)
        notes = self._task.notes()
        print(
            f"{self._task.title} {self._state.seconds:6.0f} s  step {self._state.step}  {speed:.0f} crops/s  "
            f"loss {mean:.4f}  lr {lr:.2e}{'  ' + notes if notes else ''}", flush=True,
        )  # fmt: skip
        self._total, self._count, self._at, self._crops = None, 0, now, self._state.crops

    def end(self) -> None:
        self.line(0.0)
