"""Differential diffusion as a scheduler: each latent is denoised in the last k of N steps, k by its strength.

Until k steps are left, a latent is the source, noised to the level of the current step; from then on the model
denoises it. With k = 0 it ends exactly as the source. With the same k everywhere this is image-to-image of
strength k / N. (Levin and Fried, Differential Diffusion, arXiv 2306.00950.)

It is a mix-in for the schedulers of diffusers rather than a callback, because all model families use a scheduler:
it sees every step, and the source in the family's own layout and scaling.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput

from qrefine.models.diffusion.load import remade

# a step depends on the current sample only: no history, no new noise. So a sample that waits in a batch that began
# earlier gets bit-identical results to a run of its own
MEMORYLESS = frozenset({"DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"})


@dataclass
class StrengthJob:
    """One batch. ``steps``: (B, h, w) integers, how many of the ``total`` steps each latent takes part in.

    ``pack`` converts (B, ..., C, h, w) latents to the layout of the family's steps.
    """

    steps: torch.Tensor
    total: int
    seeds: Sequence[int]
    pack: Callable[[torch.Tensor], torch.Tensor]

    def __post_init__(self) -> None:
        self.at = self.total - int(self.steps.max())  # the next step, 0..total
        self.waiting: list[tuple[torch.Tensor, torch.Tensor]] = []  # per step: waiting mask, noised source

    def draw(self, like: torch.Tensor) -> torch.Tensor:
        """Standard normal noise, each sample from its own seed; drawn on the CPU, so equal on every device."""
        draws = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in self.seeds]
        return torch.stack(draws).to(device=like.device, dtype=like.dtype)

    def wait(self, levels: Sequence[torch.Tensor]) -> None:
        """``levels``: the source (B, ..., C, h, w) noised to the level after each step; the last is clean."""
        batch, *_, height, width = levels[0].shape
        steps = self.steps.to(levels[0].device).reshape(batch, *[1] * (levels[0].ndim - 3), height, width)
        packed = self.pack(steps.expand_as(levels[0]))
        self.waiting = [
            (packed < self.total - step, self.pack(level)) for step, level in enumerate(levels, start=self.at)
        ]

    def generators(self, device: torch.device) -> list[torch.Generator]:
        """For schedulers that draw noise in their steps."""
        return [torch.Generator(device).manual_seed((seed + 1) % 2**63) for seed in self.seeds]


class StrengthSchedule:
    """Mix-in over a scheduler of diffusers; see `differential`."""

    job: StrengthJob
    timesteps: torch.Tensor
    _draws: bool
    _waited: torch.Tensor  # latents that were reset to the source after the last step

    def begin(self, job: StrengthJob) -> None:
        """Set the batch of the next pipeline call."""
        self.job = job
        self._in_step: list[torch.Generator] | None = None

    def add_noise(self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> Any:
        add = super().add_noise  # type: ignore[misc]
        return self._enter(original_samples, timesteps, add)

    def scale_noise(self, sample: torch.Tensor, timestep: Any = None, noise: torch.Tensor | None = None) -> Any:
        scale = super().scale_noise  # type: ignore[misc]
        return self._enter(sample, timestep, lambda source, drawn, t: scale(source, t, drawn))

    def _enter(
        self, source: torch.Tensor, timesteps: torch.Tensor, add: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        """Called when the pipeline prepares its latents: noises the source for all coming steps.

        In advance, because looking up a noise level in the loop would make the host wait for the GPU.
        """
        job = self.job
        source = source.contiguous()  # kernels differ by memory layout; results must not
        noise = job.draw(source)
        noised = add(source, noise, timesteps)
        levels = [self._noised(source, noise, step, add) for step in range(job.at + 1, job.total)]
        self._begin_at(job.at)
        job.wait([*levels, source])
        return noised

    def _noised(
        self, source: torch.Tensor, noise: torch.Tensor, step: int, add: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        self._begin_at(step)
        return add(source, noise, self.timesteps[step].expand(len(source)))

    def _begin_at(self, step: int) -> None:
        if hasattr(self, "set_begin_index"):  # schedulers that have a begin index ignore the timestep
            self.set_begin_index(step)

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """The scheduler's step; then waiting latents are reset to the source at the next step's noise level."""
        as_object = kwargs.pop("return_dict", True)
        if self._draws:
            self._in_step = self._in_step or self.job.generators(sample.device)
            kwargs["generator"] = self._in_step
        previous, *rest = super().step(  # type: ignore[misc]
            model_output, timestep, sample, *args, return_dict=False, **kwargs
        )
        self._waited, source = self.job.waiting.pop(0)
        self.job.at += 1
        previous = torch.where(self._waited, source.to(previous.dtype), previous).contiguous()
        return SchedulerOutput(prev_sample=previous) if as_object else (previous, *rest)

    def multistep_uni_c_bh_update(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """UniPC's corrector."""
        corrected = super().multistep_uni_c_bh_update(*args, **kwargs)  # type: ignore[misc]
        return self._corrected(corrected, kwargs["this_sample"])

    def stochastic_adams_moulton_update(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """SA-Solver's corrector."""
        corrected = super().stochastic_adams_moulton_update(*args, **kwargs)  # type: ignore[misc]
        return self._corrected(corrected, kwargs["this_sample"])

    def _corrected(self, corrected: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """A corrector does the last step again. What waited had no part in it: it begins as the source."""
        return torch.where(self._waited, sample, corrected)


def differential(scheduler: Any, steps: int) -> Any:
    """A scheduler like the given one with `StrengthSchedule` mixed in.

    Raises ValueError if ``steps`` steps are not exactly ``steps`` model calls.
    """
    base = type(scheduler)
    if issubclass(base, StrengthSchedule):
        base = base.__mro__[2]
    if getattr(base, "order", 1) != 1 or _calls(base, scheduler, steps) != steps:
        raise ValueError(
            f"{base.__name__} does not make one model call per step: set the option scheduler to"
            " EulerDiscreteScheduler or DPMSolverMultistepScheduler"
        )
    draws = "generator" in inspect.signature(base.step).parameters  # each sample gets its own
    cls = type(f"Differential{base.__name__}", (StrengthSchedule, base), {"_draws": draws})
    return remade(cls, scheduler)


def memoryless(scheduler: Any) -> bool:
    """Whether samples that enter at different steps may share a batch without changing each other."""
    known = any(cls.__name__ in MEMORYLESS for cls in type(scheduler).__mro__)
    return known and not scheduler.config.get("stochastic_sampling", False)


def _calls(base: Any, scheduler: Any, steps: int) -> int:
    trial = remade(base, scheduler)
    trial.set_timesteps(steps, **({"mu": 1.0} if trial.config.get("use_dynamic_shifting") else {}))
    return len(trial.timesteps)


def exact_strength(k: int, steps: int, rounds_down: bool) -> float:
    """The strength at which a pipeline runs exactly ``k`` of ``steps`` steps, for 1 <= k <= steps.

    Some families run int(steps * s) steps, others skip int(steps - steps * s); half a step of margin avoids
    rounding errors of k / steps.
    """
    return min(1.0, (k + 0.5) / steps) if rounds_down else (k - 0.5) / steps


def rounds_down(pipe: Any) -> bool:
    """Whether this pipeline runs 5 steps for a strength of 5.5 steps, not 6."""
    return bool(pipe.get_timesteps(10, 0.55, pipe.device)[1] == 5)
