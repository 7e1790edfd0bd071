from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from qrefine.training.loop import Place, Reused, Run, train, turned


@dataclass(frozen=True)
class Line:
    """y = 3 x - 1 with noise; records nothing, so that any process may ask for any sample."""

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        x = rng.normal(size=1).astype(np.float32)
        return {"x": x, "y": 3 * x - 1 + rng.normal(0, 0.01, 1).astype(np.float32)}


def loss(net, batch, step):
    return (net(batch["x"]).float() - batch["y"]).square().mean()


RUN = Run(steps=60, batch=8, rate=0.1, warmup=5, averaging=0.9, bfloat16=False, processes=0)


def fresh():
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_it_learns():
    average, state = train(fresh(), loss, Line(), RUN)
    assert state.step == 60
    assert state.losses[-1] < 0.05 * state.losses[0]
    torch.testing.assert_close(weights(average), torch.tensor([3.0, -1.0]), atol=0.3, rtol=0)


def test_the_same_settings_give_the_same_bytes_from_any_number_of_processes():
    runs = [train(fresh(), loss, Line(), replace(RUN, processes=processes))[0] for processes in (0, 2)]
    assert torch.equal(*map(weights, runs))


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path):
    checkpoint = tmp_path / "run.checkpoint"
    whole, _ = train(fresh(), loss, Line(), RUN)

    # the first half as a run of its own length, whose schedule is that of the whole
    half = Half(60, batch=8, rate=0.1, warmup=5, averaging=0.9, bfloat16=False, processes=0)
    train(fresh(), loss, Line(), half, checkpoint)
    resumed, state = train(nn.Linear(1, 1), loss, Line(), RUN, checkpoint, resume=True)
    assert state.step == 60
    assert len(state.losses) == 60
    assert state.resumed == [30]
    assert torch.equal(weights(whole), weights(resumed))


class Half(Run):
    """Ends at half of its steps, with the learning rates of the whole."""

    def progress(self, step, seconds):
        return 1.0 if step >= 30 else super().progress(step, seconds)


def test_the_clock_ends_a_run():
    _, state = train(fresh(), loss, Line(), replace(RUN, steps=None, minutes=0.01))
    assert 0.6 <= state.seconds < 5


def test_workers_share_a_step_and_agree_on_the_end():
    seen = []

    def noting(net, batch, step):
        seen.append(batch["x"].flatten().tolist())
        return loss(net, batch, step)

    told = iter([0.0, 0.5, 1.0])
    for rank in (0, 1):
        train(fresh(), noting, Line(), replace(RUN, steps=2), place=Place(rank, 2))
    assert seen[:2] != seen[2:]
    expected = [float(Line()[index]["x"][0]) for index in range(32)]
    assert seen[0] + seen[2] + seen[1] + seen[3] == pytest.approx(expected)
    _, state = train(fresh(), loss, Line(), RUN, place=Place(1, 2, lambda value: next(told)))
    assert state.step == 2


@pytest.mark.parametrize("content", [None, b"", b"damaged"])
def test_checkpoints_that_are_none_are_refused(tmp_path, content):
    checkpoint = tmp_path / "run.checkpoint"
    if content is not None:
        checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.checkpoint: no"):
        train(fresh(), loss, Line(), RUN, checkpoint, resume=True)


def test_a_run_needs_an_end():
    with pytest.raises(ValueError, match="--steps or --minutes"):
        Run()


def test_rates_warm_up_and_fall():
    run = Run(steps=1000, rate=1.0, warmup=100)
    rates = [run.rate_at(step, run.progress(step, 0)) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert np.argmax(rates) == 99
    assert rates[-1] < 0.02


def test_buffers_are_averaged_and_counters_copied():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    average, _ = train(net, loss, Line(), replace(RUN, steps=5))
    assert average[1].num_batches_tracked == 5
    assert not torch.equal(average[1].running_mean, torch.zeros(4))


@dataclass
class Squares:
    """Sample i: a square that no turning leaves as it is, and i; counts what was made."""

    made: list

    def __getitem__(self, index):
        self.made.append(index)
        return {"square": np.arange(6).reshape(2, 3) + 10 * index, "number": np.full((1, 1), index)}


def test_samples_are_seen_again_turned_another_way():
    squares = Squares([])
    seen = Reused(squares, times=3, apart=4)
    samples = [seen[index] for index in range(24)]
    assert [int(sample["number"][0, 0]) for sample in samples] == [*(0, 1, 2, 3) * 3, *(4, 5, 6, 7) * 3]
    assert squares.made == list(range(8))  # each once
    views = {sample["square"].tobytes() + bytes(sample["square"].shape) for sample in samples[1:12:4]}
    assert len(views) == 3


def test_what_an_index_stands_for_does_not_depend_on_what_was_asked_before():
    one, two = (Reused(Squares([]), times=4, apart=3) for _ in range(2))
    forward = [one[index]["square"] for index in range(24)]
    backward = [two[index]["square"] for index in reversed(range(24))]
    assert all(np.array_equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))


def test_there_are_eight_ways_to_turn():
    square = np.arange(9).reshape(3, 3)
    assert len({turned(square, way).tobytes() for way in range(8)}) == 8
    with pytest.raises(ValueError, match="eight ways"):
        Run(steps=1, reuse=9)


def test_parts_of_a_run():
    assert Run(steps=40, rate=1.0).part(0.25, 2) == Run(steps=10, rate=2.0)
    assert Run(minutes=60).part(0.5).minutes == 30
    assert Run(steps=3).part(0.01).steps == 1


def test_frozen_parameters_stay():
    net = fresh()
    net.bias.requires_grad_(False)
    kept = net.bias.clone()
    average, _ = train(net, loss, Line(), RUN)
    assert torch.equal(net.bias, kept)
    assert torch.equal(average.bias, kept)
