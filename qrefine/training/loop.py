"""One training loop for both models: seeded, resumable, on any device, with averaged weights at the end.

What step k sees depends on the seed and k alone. Under ``steps`` the whole run is then a function of its
settings; under ``minutes`` the clock drives the learning rate, so that a run ends on time however busy the
machine is, and the steps it made are reported.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

Batch = Mapping[str, Tensor]
Loss = Callable[[nn.Module, Batch, int], Tensor]
"""(network, batch, step) -> scalar."""


@dataclass(frozen=True)
class Run:
    """How long and how fast. One of ``steps`` and ``minutes`` must be given; the first to end ends the run.

    ``memory`` is AdamW's second decay: shorter where gradients vary much from step to step. ``reuse``: how often
    each sample is seen, turned another way each time; for machines on which making one costs as much as learning
    from it.
    """

    steps: int | None = None
    minutes: float | None = None
    batch: int = 16
    rate: float = 1e-3
    warmup: int = 200
    averaging: float = 0.999
    memory: float = 0.999
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = True
    processes: int = 1
    reuse: int = 1

    def __post_init__(self) -> None:
        if not self.steps and not self.minutes:
            raise ValueError("a run needs --steps or --minutes above 0")
        if not 1 <= self.reuse <= 8:
            raise ValueError(f"there are eight ways to turn a square: --reuse is 1 to 8, not {self.reuse}")

    def part(self, share: float, pace: float = 1.0) -> Run:
        """A run of ``share`` of this one's steps and minutes, at ``pace`` times its rate."""
        steps = max(1, round(self.steps * share)) if self.steps else None
        minutes = self.minutes * share if self.minutes else None
        return replace(self, steps=steps, minutes=minutes, rate=self.rate * pace)

    def progress(self, step: int, seconds: float) -> float:
        """The share of the run that is over, in [0, 1]."""
        by_step = step / self.steps if self.steps else 0.0
        by_clock = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_step, by_clock))

    def rate_at(self, step: int, progress: float) -> float:
        """Linear warm-up, then half a cosine down to a hundredth."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return self.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass
class State:
    """Where a run stands: everything a checkpoint holds besides the weights."""

    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)  # the steps at which a run went on, settings perhaps changed


@dataclass(frozen=True)
class Place:
    """This process among those that train together: it takes every ``of``-th batch from ``rank`` on.

    ``agree`` gives all of them rank 0's value of a number, for clocks differ and all must stop at one step.
    """

    rank: int = 0
    of: int = 1
    agree: Callable[[float], float] = float


def train(
    net: nn.Module,
    loss: Loss,
    samples: Dataset[dict[str, np.ndarray]],
    run: Run,
    checkpoint: Path | None = None,
    resume: bool = False,
    wrap: Callable[[nn.Module], nn.Module] = lambda net: net,
    place: Place = Place(),
) -> tuple[nn.Module, State]:
    """Trains ``net`` in place; gives a copy with averaged weights, and the final state.

    ``samples`` answers any index from 0 on. ``checkpoint`` is written each minute and at the end by rank 0;
    ``resume`` goes on from it (ValueError where there is none or it is of another network). ``wrap`` makes the
    network a distributed one.
    """
    net.to(run.device)
    average, state = deepcopy(net), State()
    optimiser = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], run.rate, (0.9, run.memory), weight_decay=1e-4
    )
    if resume:
        if checkpoint is None or not checkpoint.is_file():
            raise ValueError(f"{checkpoint}: no checkpoint to resume from")
        state = _restore(checkpoint, net, average, optimiser)
        if run.progress(state.step, state.seconds) < 1:
            state.resumed.append(state.step)
    model, report = wrap(net), _Report(run, place.rank == 0)
    batches = _batches(samples, run, state.step, place)
    began, saved = time.monotonic() - state.seconds, time.monotonic()
    while (progress := place.agree(run.progress(state.step, state.seconds))) < 1:
        rate = run.rate_at(state.step, progress)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = {name: value.to(run.device, non_blocking=True) for name, value in next(batches).items()}
        with torch.autocast(run.device.split(":")[0], torch.bfloat16, enabled=run.bfloat16):
            value = loss(model, batch, state.step)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        state.step += 1
        _follow(average, net, min(run.averaging, state.step / (state.step + 10)))
        state.losses.append(float(value.detach()))
        state.seconds = time.monotonic() - began
        report(state, rate)
        if checkpoint and place.rank == 0 and time.monotonic() - saved > 60:
            _save(checkpoint, net, average, optimiser, state)
            saved = time.monotonic()
    report.close()
    if checkpoint and place.rank == 0:
        _save(checkpoint, net, average, optimiser, state)
    return average, state


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    for target, source in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if target.is_floating_point():
            target.lerp_(source, 1 - decay)
        else:  # a counter
            target.copy_(source)


def _batches(
    samples: Dataset[dict[str, np.ndarray]], run: Run, step: int, place: Place
) -> Iterator[dict[str, Tensor]]:
    """Endless batches from ``step`` on; rank r's sample i of step k has index (k * of + r) * batch + i."""

    def indices() -> Iterator[int]:
        index = (step * place.of + place.rank) * run.batch
        while True:
            yield from range(index, index + run.batch)
            index += run.batch * place.of

    loader = DataLoader(
        Reused(samples, run.reuse, _APART * run.batch * place.of * max(1, run.processes)),
        run.batch,
        sampler=_Indices(indices()),
        num_workers=run.processes,
        prefetch_factor=4 if run.processes else None,
        multiprocessing_context="spawn" if run.processes else None,
        worker_init_fn=_one_thread,
    )
    return iter(loader)


_APART = 64
"""Batches between two sights of a sample, in each process that makes them."""


class Reused(Dataset[dict[str, np.ndarray]]):
    """Each of ``samples`` ``times`` times, ``apart`` indices between, turned another way each time.

    Arrays of a sample have rows and columns as their first two axes. Which sample an index stands for depends on
    the index alone; a sample that was made in this process a round ago is not made again.
    """

    def __init__(self, samples: Dataset[dict[str, np.ndarray]], times: int, apart: int) -> None:
        self._samples, self._times, self._apart = samples, times, apart
        self._kept: dict[int, dict[str, np.ndarray]] = {}

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        if self._times == 1:
            return self._samples[index]
        block, place = divmod(index, self._times * self._apart)
        turn, within = divmod(place, self._apart)
        number = block * self._apart + within
        sample = self._kept.pop(number, None)
        if sample is None:
            sample = self._samples[number]
        if turn + 1 < self._times:
            self._kept[number] = sample
        return {name: turned(array, (turn + number) % 8) for name, array in sample.items()}


def turned(array: NDArray[Any], way: int) -> NDArray[Any]:
    """One of the eight ways to lay down a square: rows and columns are the first two axes."""
    array = np.rot90(array, way % 4)
    return (array[:, ::-1] if way >= 4 else array).copy()


def _one_thread(_: int) -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


class _Indices(torch.utils.data.Sampler[int]):
    def __init__(self, indices: Iterator[int]) -> None:
        self._indices = indices

    def __iter__(self) -> Iterator[int]:
        return self._indices


def _save(path: Path, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, state: State) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {
        "net": net.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "state": asdict(state),
    }
    new = path.with_suffix(path.suffix + ".new")
    torch.save(whole, new)
    os.replace(new, path)


def _restore(path: Path, net: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    try:
        whole = torch.load(path, map_location=next(net.parameters()).device, weights_only=True)
        net.load_state_dict(whole["net"])
        average.load_state_dict(whole["average"])
        optimiser.load_state_dict(whole["optimiser"])
        return State(**whole["state"])
    except Exception as error:  # torch raises a dozen kinds for a damaged or foreign file
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not a checkpoint of this training: {why}") from None


class _Report:
    """A progress bar on a terminal; elsewhere a plain line each 20 seconds."""

    def __init__(self, run: Run, shown: bool) -> None:
        self._run, self._shown, self._last = run, shown, 0.0
        self._bar: Progress | None = None
        if shown and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            self._bar = Progress(*columns, TimeRemainingColumn())
            self._task = self._bar.add_task("training", total=1.0)
            self._bar.start()

    def __call__(self, state: State, rate: float) -> None:
        now = time.monotonic()
        if not self._shown or now - self._last < (0.5 if self._bar else 20):
            return
        self._last = now
        progress = self._run.progress(state.step, state.seconds)
        recent = float(np.mean(state.losses[-200:]))
        line = f"step {state.step}  loss {recent:.5f}  rate {rate:.2e}"
        if self._bar:
            self._bar.update(self._task, completed=progress, description=line)
        else:
            print(f"{line}  {progress:.1%}  {state.seconds:.0f} s", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar:
            self._bar.stop()
