"""The loop: it learns, resumes to the same weights, ends on time, and writes at once or not at all."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training import tensors
from training.loop import Schedule, train


class Line:
    """y = 2 x + 1 from noisy samples."""

    title, architecture, stored = "line", "line-1", torch.float16
    closed = False

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1), nn.Linear(1, 1))

    def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> dict[str, Tensor]:
        x = torch.rand(16, 1, generator=generator) + float(rng.uniform(0, 0.1))
        return {"x": x, "y": 2 * x + 1}

    def loss(self, net: nn.Module, samples: dict[str, Tensor], step: int) -> Tensor:
        loss = (net(samples["x"]) - samples["y"]).square().mean()
        return loss * float("nan") if step == 7 else loss

    def notes(self) -> str:
        return ""

    def close(self) -> None:
        self.closed = True


def test_it_learns_and_survives_a_loss_that_is_not_finite() -> None:
    net, state = train(Line(), Schedule(steps=300, lr=3e-2, warmup=5, ema_decay=0.9))
    assert state.step == 300
    assert state.crops == 4800
    x = torch.tensor([[0.5]])
    assert abs(float(net.eval()(x)) - 2) < 0.25


def test_a_run_has_as_many_steps_as_asked_however_batches_are_dealt_out() -> None:
    _, state = train(Line(), Schedule(steps=10, parts=4, lr=1e-2, warmup=2))
    assert state.step == 10
    assert state.crops == 40


def test_resuming_gives_the_same_weights(tmp_path: Path) -> None:
    whole, _ = train(Line(), Schedule(steps=30, lr=1e-2, warmup=3))
    path = tmp_path / "run.checkpoint"

    class Cut(Line):
        def samples(self, step: int, rng: np.random.Generator, generator: torch.Generator) -> dict[str, Tensor]:
            if step == 12:
                raise KeyboardInterrupt
            return super().samples(step, rng, generator)

    with pytest.raises(KeyboardInterrupt):
        train(Cut(), Schedule(steps=30, lr=1e-2, warmup=3, saving=0), checkpoint=path)
    pieces, state = train(Line(), Schedule(steps=30, lr=1e-2, warmup=3), checkpoint=path, resume=True)
    assert state.resumed == [12]
    pairs = zip(whole.state_dict().values(), pieces.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_clock_ends_it_and_weights_lie_there(tmp_path: Path) -> None:
    began = time.monotonic()
    run = Schedule(minutes=0.05, reserve=1, warmup=1, began=began - 1)  # three seconds, one is over, one is kept
    _, state = train(Line(), run, tmp_path / "line.safetensors")
    assert time.monotonic() - began < 2.5
    assert state.step > 0
    weights, notes = tensors.load(tmp_path / "line.safetensors")
    assert notes["architecture"] == "line-1"
    assert weights["0.weight"].dtype == torch.float16
    assert [p.name for p in tmp_path.iterdir()] == ["line.safetensors"]


def test_weights_are_a_start_for_their_own_network_alone(tmp_path: Path) -> None:
    path = tmp_path / "line.safetensors"
    trained, _ = train(Line(), Schedule(steps=40, lr=3e-2, warmup=5, ema_decay=0.5), path)
    again, _ = train(Line(), Schedule(steps=1, lr=0), init=path)
    assert torch.allclose(again.get_parameter("0.weight"), trained.get_parameter("0.weight"), atol=2e-3)
    tensors.save(path, trained.state_dict(), {"architecture": "curve-1"})
    with pytest.raises(ValueError, match="not weights of line-1"):
        train(Line(), Schedule(steps=1), init=path)


def test_foreign_checkpoints_and_empty_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--steps"):
        Schedule()
    with pytest.raises(ValueError, match="no checkpoint"):
        train(Line(), Schedule(steps=1), checkpoint=tmp_path / "none", resume=True)
    bad = tmp_path / "bad"
    bad.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="not a checkpoint of this training"):
        train(Line(), Schedule(steps=1), checkpoint=bad, resume=True)


def test_safetensors_by_hand_are_the_librarys(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    held = {"a": torch.arange(6.0).view(2, 3).half(), "b": torch.tensor(3), "c": torch.zeros(0)}
    tensors.save(tmp_path / "mine", held, {"architecture": "x"})
    theirs = load_file(tmp_path / "mine")
    assert all(torch.equal(theirs[name], value) for name, value in held.items())
    save_file(held, tmp_path / "theirs", metadata={"architecture": "y"})
    mine, notes = tensors.load(tmp_path / "theirs")
    assert notes == {"architecture": "y"}
    assert all(torch.equal(mine[name], value) for name, value in held.items())
    for broken in (b"", b"\x08\0\0\0\0\0\0\0notjson!", (tmp_path / "mine").read_bytes()[:60]):
        with pytest.raises(ValueError, match="safetensors"):
            tensors.unpacked(broken)
