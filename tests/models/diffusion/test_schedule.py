"""Steps, strengths and which schedulers can be entered late."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")

import diffusers
from hypothesis import given
from hypothesis import strategies as st

from qrefine.models.diffusion.schedule import (
    StrengthJob,
    StrengthSchedule,
    differential,
    exact_strength,
    memoryless,
    rounds_down,
)


def floors(steps, strength):
    """How Stable Diffusion counts."""
    return min(int(steps * strength), steps)


def leaves_out(steps, strength):
    """How SD3, Flux, Qwen-Image and Z-Image count."""
    return steps - int(max(steps - min(steps * strength, steps), 0))


@given(st.integers(1, 1000), st.data())
def test_a_strength_gives_exactly_the_steps_that_were_meant(steps, data):
    k = data.draw(st.integers(1, steps))
    for count, down in ((floors, True), (leaves_out, False)):
        strength = exact_strength(k, steps, down)
        assert 0 < strength <= 1
        assert count(steps, strength) == k


@pytest.mark.parametrize(("count", "down"), [(floors, True), (leaves_out, False)])
def test_a_familys_way_to_round_is_found_out(count, down):
    pipe = SimpleNamespace(device="cpu", get_timesteps=lambda steps, s, device: (None, count(steps, s)))
    assert rounds_down(pipe) is down


@pytest.mark.parametrize(
    ("name", "mixes"),
    [
        ("EulerDiscreteScheduler", True),
        ("DDIMScheduler", True),
        ("FlowMatchEulerDiscreteScheduler", True),
        ("DPMSolverMultistepScheduler", False),
        ("UniPCMultistepScheduler", False),
        ("EulerAncestralDiscreteScheduler", False),
        ("LCMScheduler", False),
        ("DDPMScheduler", False),
    ],
)
def test_which_schedulers_let_unlike_strengths_share_a_batch(name, mixes):
    scheduler = differential(getattr(diffusers, name)(), 6)
    assert isinstance(scheduler, StrengthSchedule)
    assert isinstance(scheduler, getattr(diffusers, name))
    assert memoryless(scheduler) is mixes
    again = differential(scheduler, 6)
    assert type(again).__mro__[1:] == type(scheduler).__mro__[1:]


def test_stochastic_flow_matching_is_no_memoryless_scheduler():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    assert not memoryless(differential(scheduler, 6))


@pytest.mark.parametrize("name", ["PNDMScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_schedulers_of_several_calls_per_step_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} does not make one model call per step"):
        differential(getattr(diffusers, name)(), 6)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DDIMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_latent_waits_as_the_noised_source_and_zero_ends_as_the_source(name):
    total = 6
    steps = torch.tensor([[[0, 2], [4, 6]]])
    scheduler = differential(getattr(diffusers, name)(), total)
    scheduler.set_timesteps(total)
    job = StrengthJob(steps, total, [7], lambda x: x)
    scheduler.begin(job)
    source = torch.rand(1, 3, 2, 2)
    noise = torch.randn(source.shape[1:], generator=torch.Generator().manual_seed(7))[None]
    enter = scheduler.scale_noise if hasattr(getattr(diffusers, name), "scale_noise") else scheduler.add_noise
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    first = scheduler.timesteps[:1]
    latents = (
        enter(source, first, torch.zeros(1)) if enter == scheduler.scale_noise else enter(source, noise, first)
    )
    plain = getattr(diffusers, name)()
    plain.set_timesteps(total)
    for step, t in enumerate(scheduler.timesteps):
        if name == "EulerDiscreteScheduler":
            scheduler.scale_model_input(latents, t)
        (latents, *_) = scheduler.step(torch.ones_like(latents), t, latents, return_dict=False)
        if step + 1 < total:
            if hasattr(plain, "set_begin_index"):
                plain.set_begin_index(step + 1)
            at = plain.timesteps[step + 1 : step + 2]
            waiting = (
                plain.scale_noise(source, at, noise)
                if hasattr(plain, "scale_noise")
                else plain.add_noise(source, noise, at)
            )
        else:
            waiting = source
        waits = (steps < total - step)[:, None].expand_as(source)
        assert torch.equal(latents[waits], waiting[waits])
        if (~waits).any():
            assert not torch.equal(latents[~waits], waiting[~waits])
    assert torch.equal(latents[:, :, 0, 0], source[:, :, 0, 0])


def run(scheduler, steps, total, source):
    """Latents after ``total`` steps of a model whose answer depends on each latent alone."""
    scheduler = differential(scheduler, total)
    scheduler.set_timesteps(total)
    scheduler.begin(StrengthJob(steps, total, [7], lambda x: x))
    at = total - int(steps.max())
    scheduler.set_begin_index(at)
    latents = scheduler.add_noise(source, torch.zeros(1), scheduler.timesteps[at : at + 1])
    for t in scheduler.timesteps[at:]:
        (latents,) = scheduler.step(torch.sin(3 * latents), t, latents, return_dict=False)[:1]
    return latents


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("UniPCMultistepScheduler", {"solver_order": 1}),
        ("SASolverScheduler", {"predictor_order": 1, "corrector_order": 1, "tau_func": lambda t: 0}),
        ("DPMSolverMultistepScheduler", {"solver_order": 1}),
    ],
)
def test_a_corrector_changes_no_latent_before_its_first_step(name, options):
    source = torch.rand(1, 3, 2, 2)
    mixed = run(getattr(diffusers, name)(**options), torch.tensor([[[0, 1], [3, 6]]]), 6, source)
    for y, x, k in ((0, 1, 1), (1, 0, 3), (1, 1, 6)):
        alone = run(getattr(diffusers, name)(**options), torch.full((1, 2, 2), k), 6, source)
        assert torch.equal(mixed[..., y, x], alone[..., y, x]), k
    assert torch.equal(mixed[..., 0, 0], source[..., 0, 0])
