"""The mapper's training: the order of patches, and the head alone on a trunk that stays."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from qrefine.models.mappers.embedded_net import ARCHITECTURE, MapperNet
from qrefine.models.weights import EMBEDDED
from training import tensors
from training.__main__ import main
from training.loop import Schedule, train
from training.mapper import ALARM, HeadTask, MapperSettings, disorder
from training.sources import Supply


def test_order_within_an_image_alone_counts():
    target = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    right = torch.logit(target.clamp(0.01, 0.99))
    assert disorder(10 * right, target) < 0.1 < 1 < disorder(-10 * right, target)
    shifted = right + torch.tensor([-3.0, 0.0, 5.0])[:, None, None]
    torch.testing.assert_close(disorder(shifted, target), disorder(right, target))


def test_patches_that_are_alike_are_in_no_wrong_order():
    logits = torch.randn(2, 3, 3, requires_grad=True)
    loss = disorder(logits, torch.full((2, 3, 3), 0.3))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_what_differs_little_is_not_compared():
    target = torch.tensor([[[0.5, 0.53], [0.5, 0.51]]])
    assert disorder(torch.randn(1, 2, 2), target) == 0
    target[0, 1, 1] = 0.6
    torch.testing.assert_close(disorder(torch.zeros(1, 2, 2), target), torch.tensor(2.0).log())


def test_the_loss_leans_to_the_undamaged(pack, trunk):
    """Alike patches of severity t: the best answer lies below t, as far as an alarm weighs more."""
    task = HeadTask(supply(pack), MapperSettings(4, (64,)), (), trunk)
    task.close()
    severity = 0.4
    best = severity / (severity + ALARM * (1 - severity))
    logits = torch.full((1, 2, 2, 8), best).logit().requires_grad_(True)
    task.answer = lambda net, samples, n: logits
    task.loss(torch.nn.Identity(), {"target": torch.full((1, 8, 2, 2), severity)}, 0).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("trunk") / "trunk.safetensors"
    tensors.save(path, MapperNet().state_dict(), {"architecture": ARCHITECTURE})
    return path


def supply(pack):
    return Supply(pack, looks=0, processes=0, scenes=0)


def test_the_head_learns_and_the_trunk_stays(pack, trunk):
    task = HeadTask(supply(pack), MapperSettings(4, (64,)), (), trunk)
    try:
        net, state = train(task, Schedule(steps=6, lr=1e-2, warmup=1, reuse=3, room=32))
    finally:
        task.close()
    assert state.step == 6
    before, _ = tensors.load(trunk)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("head."), name


def test_its_samples_are_the_patches_that_the_trunk_sees(pack, trunk):
    task = HeadTask(supply(pack), MapperSettings(4, (64,)), (), trunk)
    try:
        rng, generator = np.random.default_rng(5), torch.Generator().manual_seed(5)
        with torch.no_grad():
            made = task.samples(0, rng, generator)
        net = task.network()
        n = made["target"].shape[-1]
        assert made["patches"].shape[2:] == (n, n)
        logits = task.answer(net, made, n)
        assert logits.shape == (4, n, n, made["target"].shape[1])
        assert torch.isfinite(F.softplus(logits)).all()
        assert torch.isfinite(task.loss(net, made, 0))
    finally:
        task.close()


@pytest.mark.parametrize(
    ("task", "more", "why"),
    [
        (["mapper", "--head"], [], "--head needs --init"),
        (["mapper", "--head"], ["--init", str(EMBEDDED / "restorer.safetensors")], "weights of qrefine-mapper"),
        (["restorer", "--own"], [], "--own needs --init"),
        (["restorer", "--own"], ["--init", str(EMBEDDED / "mapper.safetensors")], "not a restorer"),
    ],
)
def test_a_part_without_the_rest_is_refused(pack, tmp_path, monkeypatch, capsys, task, more, why):
    out = tmp_path / "out"
    options = {"--pack": pack, "--steps": 1, "--out": out, "--processes": 0}
    line = [str(word) for option in options.items() for word in option]
    monkeypatch.setattr(sys, "argv", ["training", *task, *line, *more])
    assert main() == 2
    assert why in capsys.readouterr().err
    assert not out.exists()


def test_what_kinds_have_of_their_own_is_of_one_structure(tmp_path, monkeypatch, capsys):
    line = ["restorer", "--own", "--structure", "nafnet", "--pack", "no.pack", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["training", *line])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "not allowed with argument" in capsys.readouterr().err
