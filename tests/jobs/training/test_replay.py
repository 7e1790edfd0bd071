"""The pool of samples: what was put in comes out, planes of a sample stay together, all eight turns occur."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.loop import Schedule, served
from training.replay import Replay, turned


def batch(first: int, count: int, size: int = 4) -> dict[str, torch.Tensor]:
    """Samples whose pixels all tell their number, beside a corner that tells how they are turned."""
    number = torch.arange(first, first + count).float()
    planes = number[:, None, None, None].expand(count, 3, size, size).clone()
    corner = torch.zeros(count, 1, size, size)
    corner[..., 0, 1] = 1
    return {"pixels": planes, "corner": corner + planes[:, :1]}


@given(st.integers(1, 12), st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_the_last_samples_are_served_whole(room: int, counts: list[int], seed: int) -> None:
    pool, total = Replay(room), 0
    for count in counts:
        pool.put(batch(total, count))
        total += count
    seen = set()
    rng = np.random.default_rng(seed)
    for _ in range(40):
        drawn = pool.draw(16, rng)
        assert drawn["pixels"].shape == (1, 3, 4, 4)
        number = drawn["pixels"].unique()
        assert len(number) == 1
        assert (drawn["corner"] - number).sum() == 1
        seen.add(int(number))
    assert seen <= set(range(max(0, total - room), total))
    assert len(seen) > min(room, total) // 3


def test_a_square_has_eight_turns() -> None:
    plane = torch.arange(9.0).view(1, 1, 3, 3)
    assert len({tuple(turned(plane, turn).flatten().tolist()) for turn in range(8)}) == 8


def test_batches_are_served_as_often_as_asked_with_like_areas() -> None:
    run, pool = Schedule(steps=1, parts=2, reuse=3), Replay(64)
    rng = np.random.default_rng(0)
    first = list(served(pool, batch(0, 16), run, rng))
    assert len(first) == 6
    assert all(len(part["pixels"]) == 8 for part in first)
    areas = {part["pixels"][:, 0].numel() for part in served(pool, batch(16, 4, size=8), run, rng)}
    assert areas == {128}


def test_an_empty_pool_says_so() -> None:
    with pytest.raises(ValueError, match="empty"):
        Replay(4).draw(16, np.random.default_rng(0))
