"""Strength is a noise level: the share of noise in noise + signal, the same for every schedule and family.

Schedules put their steps at different levels: half of the steps is .6 of the noise for SDXL, .75 for a flow
shifted by 3. So a strength s starts at the step whose level is nearest to s, and below half of the lowest level at
none.

A latent at a level is a x0 + b n, with x0 the clean latent and n normal noise. Levels are b / (a + b): of flow
matching that is sigma itself, of Stable Diffusion's schedules sqrt(1 - alpha) / (sqrt(alpha) + sqrt(1 - alpha)).
Both coefficients are read off the scheduler, by noising a black and a white latent, so that any scheduler will do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qrefine.models.diffusion.load import remade


def active_steps(strength: NDArray[Any], levels: Sequence[float]) -> NDArray[np.int64]:
    """k: the last k steps change a pixel of strength s, so that it starts at the level nearest to s.

    ``levels``: of k = 0 (clean), 1, 2, ..., all steps, rising.
    """
    rising = np.maximum.accumulate(np.asarray(levels, np.float64))
    halfway = (rising[1:] + rising[:-1]) / 2
    steps = np.searchsorted(halfway, strength.astype(np.float64), side="right")
    return np.where(strength > 0, steps, 0).astype(np.int64)


def latent_steps(steps: NDArray[np.int64], scale: int) -> NDArray[np.int64]:
    """Steps of latents, (B, h / scale, w / scale): a latent takes part in as many as its strongest pixel."""
    batch, height, width = steps.shape
    return steps.reshape(batch, height // scale, scale, width // scale, scale).max(axis=(2, 4))


class _Known(Exception):
    """Ends a call of the pipeline as soon as its schedule is known."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        self.levels = levels


def levels_of(pipe: Any, steps: int, call: Callable[[], object]) -> tuple[float, ...]:
    """The levels of k = 0, 1, ... ``steps`` remaining steps in the schedule that ``call`` sets.

    ``call`` calls the pipeline. It is ended where it sets its schedule, before any network runs: families choose
    their schedules by the image's size, each in its own way.
    """
    scheduler = pipe.scheduler
    plain = next(cls for cls in type(scheduler).__mro__ if cls.__module__.startswith("diffusers."))

    @functools.wraps(scheduler.set_timesteps)  # pipelines look at its signature
    def seen(*args: Any, **kwargs: Any) -> None:
        copy = remade(plain, scheduler)
        copy.set_timesteps(*args, **kwargs)
        raise _Known((0.0, *(_level(copy, (steps - k) * copy.order) for k in range(1, steps + 1))))

    scheduler.set_timesteps = seen
    try:
        call()
    except _Known as known:
        return known.levels
    finally:
        del scheduler.set_timesteps
    raise ValueError(f"{type(pipe).__name__} sets no schedule that a strength could enter late")


def _level(scheduler: Any, index: int) -> float:
    """The noise level at which the step with this index starts."""
    timestep = scheduler.timesteps[index : index + 1]
    white, black = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    white, black = white.to(timestep.device), black.to(timestep.device)
    if hasattr(scheduler, "set_begin_index"):  # schedulers that have a begin index ignore the timestep
        scheduler.set_begin_index(index)
    enter = getattr(scheduler, "scale_noise", None)
    if enter is None:

        def enter(source: Any, timestep: Any, noise: Any) -> Any:
            return scheduler.add_noise(source, noise, timestep)

    signal, noise = enter(white, timestep, black), enter(black, timestep, white)
    return float(noise / (signal + noise))
