"""Differential diffusion as a scheduler: each latent takes part in as many of the last steps as its strength says.

A latent with k of N steps stays the source, noised to the level of the step at hand, until k steps are left;
from then on the model denoises it. Where k is 0 it ends as the source itself, exactly. With one k everywhere
this is image-to-image of strength k / N. (Levin and Fried, Differential Diffusion, arXiv 2306.00950.)

It is a mix-in for the schedulers of diffusers rather than a callback, because the scheduler is where every
family meets: it sees the source, in whatever layout and scaling the family has, and every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput

# one step's answer depends on that step's sample alone: no history, no fresh noise. A sample that waits in a
# batch which was entered earlier then gets, to the bit, what it would get on its own
MEMORYLESS = frozenset({"DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"})


@dataclass
class StrengthJob:
    """One batch. ``steps``: (B, h, w) integers, how many of the ``total`` steps each latent takes part in.

    ``pack`` brings (B, ..., C, h, w) latents to the layout in which the family's steps see them.
    """

    steps: torch.Tensor
    total: int
    seeds: Sequence[int]
    pack: Callable[[torch.Tensor], torch.Tensor]

    def __post_init__(self) -> None:
        self.at = self.total - int(self.steps.max())  # the step that comes next, of 0..total
        self.source: torch.Tensor | None = None
        self.noise: torch.Tensor | None = None
        self.waits: torch.Tensor | None = None

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal noise, each sample's from its own seed; on the CPU, so the same on every device."""
        draws = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in self.seeds]
        return torch.stack(draws).to(device=like.device, dtype=like.dtype)

    def generators(self, device: torch.device) -> list[torch.Generator]:
        """For schedulers that draw noise in their steps."""
        return [torch.Generator(device).manual_seed((seed + 1) % 2**63) for seed in self.seeds]


class StrengthSchedule:
    """Mix-in over a scheduler of diffusers; see `differential`."""

    job: StrengthJob
    timesteps: torch.Tensor
    _draws = False

    def begin(self, job: StrengthJob) -> None:
        """What the next call of the pipeline is to do."""
        self.job = job
        self._in_step: list[torch.Generator] | None = None

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> Any:
        self._add = super().add_noise  # type: ignore[misc]
        return self._enter(original_samples, timesteps)

    def scale_noise(self, sample: torch.Tensor, timestep: Any = None, noise: torch.Tensor | None = None) -> Any:
        scale = super().scale_noise  # type: ignore[misc]
        self._add = lambda source, drawn, t: scale(source, t, drawn)
        return self._enter(sample, timestep)

    def _enter(self, source: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The pipeline prepares its latents: remember the source, and noise it with each sample's own noise."""
        job = self.job
        noise = job.draw(source)
        noised: torch.Tensor = self._add(source, noise, timesteps)
        batch, *_, height, width = source.shape
        steps = job.steps.to(device=source.device).reshape(batch, *[1] * (source.ndim - 3), height, width)
        job.source, job.noise = job.pack(source), job.pack(noise)
        job.waits = job.pack(steps.expand_as(source))
        return noised

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """The scheduler's step; then what still waits goes back to the source at the next step's noise level."""
        as_object = kwargs.pop("return_dict", True)
        job = self.job
        if "generator" in kwargs or self._draws:
            self._in_step = self._in_step or job.generators(sample.device)
            kwargs["generator"] = self._in_step
        previous, *rest = super().step(  # type: ignore[misc]
            model_output, timestep, sample, *args, return_dict=False, **kwargs
        )
        assert job.source is not None and job.noise is not None and job.waits is not None
        waits = job.waits < job.total - job.at
        job.at += 1
        source = job.source
        if job.at < job.total:
            source = self._add(source, job.noise, self.timesteps[job.at].expand(len(source)))
        previous = torch.where(waits, source.to(previous.dtype), previous)
        return SchedulerOutput(prev_sample=previous) if as_object else (previous, *rest)


def differential(scheduler: Any, steps: int) -> Any:
    """A scheduler like the given one with `StrengthSchedule` mixed in.

    Raises ValueError where its ``steps`` steps are not that many calls of the model, one after the other.
    """
    base = type(scheduler)
    if issubclass(base, StrengthSchedule):
        base = base.__mro__[2]
    if getattr(base, "order", 1) != 1 or _calls(base, scheduler.config, steps) != steps:
        raise ValueError(
            f"{base.__name__} does not make one model call per step: set the option scheduler to"
            " EulerDiscreteScheduler or DPMSolverMultistepScheduler"
        )
    draws = bool(scheduler.config.get("stochastic_sampling", False))  # without being handed a generator
    cls = type(f"Differential{base.__name__}", (StrengthSchedule, base), {"_draws": draws})
    return cls.from_config(scheduler.config)  # type: ignore[attr-defined]


def memoryless(scheduler: Any) -> bool:
    """Whether samples that enter at different steps may share a batch without changing each other."""
    known = any(cls.__name__ in MEMORYLESS for cls in type(scheduler).__mro__)
    return known and not scheduler.config.get("stochastic_sampling", False)


def _calls(base: Any, config: Any, steps: int) -> int:
    trial = base.from_config(config)
    trial.set_timesteps(steps, **({"mu": 1.0} if config.get("use_dynamic_shifting") else {}))
    return len(trial.timesteps)


def exact_strength(k: int, steps: int, rounds_down: bool) -> float:
    """The strength of which a pipeline makes exactly ``k`` of ``steps`` steps, for 1 <= k <= steps.

    Some families take int(steps * s) steps, others leave out int(steps - steps * s); half a step keeps clear of
    what floating point makes of k / steps.
    """
    return min(1.0, (k + 0.5) / steps) if rounds_down else (k - 0.5) / steps


def rounds_down(pipe: Any) -> bool:
    """Whether 5.5 steps are 5 to this pipeline, or 6."""
    return bool(pipe.get_timesteps(10, 0.55, pipe.device)[1] == 5)
