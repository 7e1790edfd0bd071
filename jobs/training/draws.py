"""Random draws: of tensors on the device, and of choices on the host that need no answer from the device."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

_hosts: WeakKeyDictionary[torch.Generator, tuple[int, np.random.Generator]] = WeakKeyDictionary()


def host(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator for choices of structure (which kernel, which codec), led by ``generator``.

    On a CPU its seed is drawn from ``generator`` itself. On a GPU a draw would wait for all that is queued there;
    so each seed given to ``generator`` starts a stream of its own.
    """
    if generator.device.type == "cpu":
        return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    seed = generator.initial_seed()
    known = _hosts.get(generator)
    if known is None or known[0] != seed:
        known = (seed, np.random.default_rng(seed))
        _hosts[generator] = known
    return known[1]


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Float32 values of ``shape`` in [low, high), on the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal float32 values of ``shape``, on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def chance(generator: torch.Generator, share: float, count: int) -> Tensor:
    """(count,) booleans that are true with the probability ``share``."""
    return torch.rand(count, generator=generator, device=generator.device) < share
