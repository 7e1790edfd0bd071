from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qrefine.models.restorers import embedded_net as shipped
from qrefine.models.weights import EMBEDDED
from training import tensors
from training.kinds import NEW, RARE, ClassifierTask, OwnTask, WeightsTask, add, joined, restorer, trunk
from training.loop import Schedule, train
from training.restorer import RestorerSettings
from training.sources import Supply

SETTINGS = RestorerSettings(2, (64,), perceptual=0)


@pytest.fixture(scope="module")
def before() -> shipped.RestorerNet:
    """A restorer that knows all kinds but the new one."""
    torch.manual_seed(0)
    net = shipped.RestorerNet().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += torch.randn(parameter.shape) * 0.02
        for difference in net.differences:
            difference[-1] = 0
        net.teller.head[2].weight[-2] = 0
        net.teller.head[2].bias[-2] = -6
    return net


@pytest.fixture(scope="module")
def file(before: shipped.RestorerNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``before`` as it was written when there was no such kind."""
    weights = before.state_dict()
    for name, value in weights.items():
        if name.startswith("differences."):
            weights[name] = value[:-1]
        elif name.startswith("teller.head.2."):
            weights[name] = torch.cat([value[:-2], value[-1:]])
    path = tmp_path_factory.mktemp("weights") / "before.safetensors"
    tensors.save(path, weights, {"architecture": "before"})
    return path


@pytest.fixture
def supply(pack: Path) -> Supply:
    return Supply(pack, "cpu", looks=0, processes=0, scenes=4)


def test_a_restorer_without_the_kind_is_read_as_one_that_does_not_use_it(
    file: Path, before: shipped.RestorerNet
) -> None:
    net = restorer(file)
    for name, value in before.state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    shares = net.shares(torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64))
    assert float(shares.detach()[:, -2].max()) < 0.05


@pytest.mark.parametrize("weights", [{}, {"trunk.stem.weight": torch.zeros(3)}])
def test_other_weights_are_refused(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    tensors.save(tmp_path / "other.safetensors", weights)
    with pytest.raises(ValueError, match="not a restorer"):
        restorer(tmp_path / "other.safetensors")


@torch.no_grad()
def test_the_trunk_for_given_shares_is_what_the_network_makes_of_them(before: shipped.RestorerNet) -> None:
    shares, pixels = torch.rand(len(shipped.KINDS) + 1).softmax(0), torch.rand(1, 3, 32, 48)
    strength = torch.rand(1, 1, 32, 48)
    torch.testing.assert_close(trunk(before, shares)(pixels, strength), before(pixels, strength, shares))


def test_only_what_kinds_have_of_their_own_is_trained_on(supply: Supply, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    init = restorer(EMBEDDED / "restorer.safetensors")
    task = OwnTask(supply, SETTINGS, init)
    train(task, Schedule(steps=4, lr=1e-2, warmup=1), out)
    task.close()
    assert tensors.load(out)[1]["architecture"] == shipped.ARCHITECTURE
    after = restorer(out).state_dict()
    moved = {name for name, value in init.state_dict().items() if not torch.equal(after[name], value)}
    assert {"differences.0", f"differences.{len(init.names) - 1}"} <= moved  # the deep ones hardly, in four steps
    assert all(name.startswith("differences.") for name in moved)


def test_only_weights_of_the_kind_are_trained(supply: Supply, before: shipped.RestorerNet) -> None:
    task = WeightsTask(supply, SETTINGS, before)
    net = task.network()
    task.close()
    assert {name for name, p in net.named_parameters() if p.requires_grad} == set(before.names)


def test_the_classifier_is_asked_for_the_kind_and_else_for_what_it_answered(
    supply: Supply, before: shipped.RestorerNet
) -> None:
    task = ClassifierTask(supply, SETTINGS, before)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        samples = task.samples(0, rng, generator)
        shares, half = samples["shares"].flatten(1), len(samples["pixels"]) // 2
        assert torch.equal(shares[half:].argmax(1), torch.full((half,), shipped.KINDS.index(NEW)))
        same = before.shares(samples["pixels"], samples["strength"])
        torch.testing.assert_close(shares[:half], same[:half])
        old = {name: value[:half] for name, value in samples.items()}
        assert abs(float(task.loss(before.teller, old, 0))) < 1e-5
    assert float(task.loss(task.network(), samples, 0).detach()) > 0.1
    task.close()


def test_a_kind_is_added_and_nothing_else_changes(
    supply: Supply, file: Path, before: shipped.RestorerNet, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    add(supply, SETTINGS, file, out, lambda share: Schedule(steps=3, lr=1e-3, warmup=1))
    weights, notes = tensors.load(out)
    assert notes == {"architecture": shipped.ARCHITECTURE, "steps": "6"}
    net = restorer(out)
    for name, value in before.state_dict().items():
        found = net.state_dict()[name]
        if name.startswith("differences."):
            torch.testing.assert_close(found[:-1], value[:-1], atol=1e-3, rtol=1e-3)
        elif name.startswith("trunk."):
            torch.testing.assert_close(found, value, atol=1e-3, rtol=1e-3)
    assert any(bool(difference[-1].any()) for difference in net.differences)
    assert all(weights[name].dtype == torch.float16 for name in weights if name.startswith("trunk."))


@torch.no_grad()
def test_a_sure_kind_is_restored_by_what_was_trained(before: shipped.RestorerNet) -> None:
    whole = trunk(before, torch.eye(len(shipped.KINDS) + 1)[0])
    for parameter in whole.last.parameters():
        parameter.mul_(0.5)
    net = restorer_of(joined(before, whole, before.teller))
    lowered = (before.teller.head[-1].bias - net.teller.head[-1].bias)[-2]
    assert float(lowered) == pytest.approx(np.log(RARE), rel=1e-2)
    pixels, strength = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    sure = torch.eye(len(shipped.KINDS) + 1)[shipped.KINDS.index(NEW)]
    torch.testing.assert_close(net(pixels, strength, sure), whole(pixels, strength), atol=2e-3, rtol=2e-3)


def restorer_of(weights: dict[str, torch.Tensor]) -> shipped.RestorerNet:
    net = shipped.RestorerNet().eval()
    net.load_state_dict(weights)
    return net
