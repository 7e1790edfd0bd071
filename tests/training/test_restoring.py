from dataclasses import replace

import numpy as np
import pytest
import torch

from qrefine.models.restorers.embedded_net import ARCHITECTURE, KINDS, TRUNK_ALONE, RestorerNet, Teller, UNet, own
from qrefine.models.weights import save_weights
from qrefine.training.degradations import KINDS as DAMAGES
from qrefine.training.restoring import ALONE, DAMAGE, TOLD, TellerSamples, Together, restorer_loss, restorer_task


def test_each_damage_that_can_be_mended_has_one_kind():
    samples = TellerSamples((), 0, replace(TOLD, clean=0, size=64))
    mended = {}
    for damage in DAMAGES:
        only = TellerSamples((), 0, replace(samples.recipe, weights=((damage, 1.0),)))
        mended[damage] = int(only[0]["kind"][0, 0])
    nothing = len(KINDS)
    assert [d for d, kind in mended.items() if kind == nothing] == ["colour_shift", "patch_swap", "warp"]
    assert {KINDS[kind] for kind in mended.values() if kind != nothing} == set(KINDS) == set(DAMAGE)
    assert KINDS[mended["downsample"]] == "shrinking"
    assert KINDS[mended["webp"]] == "compression"


def test_clean_crops_have_nothing_to_mend():
    samples = TellerSamples((), 0, replace(TOLD, clean=1, size=64))
    sample = samples[3]
    assert sample["kind"] == len(KINDS)
    assert sample["strength"].max() > 0  # the map may err


def trained():
    task = restorer_task()
    torch.manual_seed(0)
    made = {}
    for phase in task.phases:
        made[phase.name] = phase.network(made)
    return task, made


def test_kinds_learn_their_own_weights_on_a_trunk_that_stays():
    task, made = trained()
    assert [phase.name for phase in task.phases] == ["trunk", *KINDS, "teller", "together"]
    assert sum(phase.share for phase in task.phases) == pytest.approx(1)
    net = made["blur"]
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 69_244
    assert all(p.requires_grad == own(name) for name, p in net.named_parameters())
    assert all(p.requires_grad for p in made["trunk"].parameters())
    whole = task.whole(made)
    assert isinstance(whole, RestorerNet)
    assert isinstance(whole.teller, Teller)


def test_samples_of_a_kind_are_of_that_damage():
    task = restorer_task()
    phases = {phase.name: phase for phase in task.phases}
    for kind in KINDS:
        samples = phases[kind].samples((), 0)
        assert dict(samples.recipe.weights).keys() == set(DAMAGE[kind])
        sample = samples[0]
        assert sample["pixels"].shape == sample["clean"].shape == (ALONE.size, ALONE.size, 3)
        assert (sample["pixels"] != sample["clean"]).any()
        assert 0 < sample["strength"].max() <= 1


def test_the_loss_of_leaving_things_as_they_are_is_near_one_and_of_the_truth_near_zero():
    sample = restorer_task().phases[2].samples((), 0)[1]
    batch = {name: torch.from_numpy(value)[None] for name, value in sample.items()}
    idle = restorer_loss(UNet(), batch, 0).item()
    assert 0.4 < idle < 1.3

    class Truth(torch.nn.Module):
        def forward(self, pixels, strength):
            return batch["clean"].permute(0, 3, 1, 2).float() / 255

    assert restorer_loss(Truth(), batch, 0).item() < 0.02 * idle
    assert np.isfinite(idle)


def test_phases_start_from_either_version_and_from_nothing_else(tmp_path):
    task, made = trained()
    trunk, path = made["trunk"], tmp_path / "weights.safetensors"
    save_weights(trunk, path, TRUNK_ALONE, {})
    assert {name: same(net, trunk) for name, net in task.start(path).items()} == {"trunk": True}
    whole = task.whole(made)
    with torch.no_grad():
        for place, difference in enumerate(whole.differences):
            difference += torch.randn(difference.shape, generator=torch.Generator().manual_seed(place))
    save_weights(whole, path, ARCHITECTURE, {})
    started = task.start(path)
    assert set(started) == {phase.name for phase in task.phases}
    assert same(started["trunk"], trunk)
    assert same(started["teller"], whole.teller)
    assert same(task.whole(started), whole)
    again = RestorerNet(started["trunk"], started["teller"])
    for kind in KINDS:
        again.learned(kind, started[kind])
    for new, old in zip(again.differences, whole.differences, strict=True):
        torch.testing.assert_close(new, old, rtol=0, atol=1e-5)
    save_weights(made["teller"], path, "another", {})
    with pytest.raises(ValueError, match=f"expected weights of {ARCHITECTURE}, found another"):
        task.start(path)


def same(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_together_each_crop_is_restored_by_what_is_told_of_it():
    net = RestorerNet()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    strength = torch.ones(3, 1, 32, 32)
    together = Together(net).eval()
    several = together(pixels, strength)
    one = torch.cat([together(pixels[i : i + 1], strength[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(several, one, rtol=0, atol=1e-5)
    several.square().mean().backward()
    missing = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert not missing  # the trunk, the kinds' own weights and the teller all learn
