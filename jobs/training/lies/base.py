"""What a lie is given and draws from; arithmetic that several kinds share."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from training import classical
from training.classical import gaussian


@dataclass(frozen=True)
class Case:
    """Images (b, 3, h, w) in [0, 1] float32, masks (b, 1, h, w) in [0, 1].

    ``clean``: the truth; ``before``: what the restorer was given; ``other``: clean images of something else;
    ``mask``: where the restorer changes anything.
    """

    clean: Tensor
    before: Tensor
    other: Tensor
    mask: Tensor


class Draw:
    """Chances of one call: numbers on the host, fields on the device."""

    def __init__(self, numbers: random.Random, generator: torch.Generator) -> None:
        self.numbers, self.generator = numbers, generator

    def uniform(self, low: float, high: float) -> float:
        return self.numbers.uniform(low, high)

    def geometric(self, low: float, high: float) -> float:
        return low * (high / low) ** self.numbers.random()

    def integer(self, low: int, high: int) -> int:
        """``low`` to ``high``, both included."""
        return self.numbers.randint(low, high)

    def sign(self) -> float:
        return self.numbers.choice((-1.0, 1.0))

    def normal(self, like: Tensor, channels: int | None = None) -> Tensor:
        """White noise of deviation 1, shaped as ``like`` but for its channels."""
        shape = (like.shape[0], channels or like.shape[1], *like.shape[2:])
        return torch.randn(shape, generator=self.generator, device=like.device)


Make = Callable[[Case, Draw], Tensor]


def masked_mean(case: Case) -> Tensor:
    weight = case.mask / (case.mask.sum((2, 3), keepdim=True) + 1e-6)
    return (case.before * weight).sum((2, 3), keepdim=True)


def high_pass(images: Tensor, sigma: float) -> Tensor:
    return images - gaussian(images, sigma)


def translated(images: Tensor, dx: float, dy: float) -> Tensor:
    height, width = images.shape[-2:]
    matrix = torch.tensor([[1, 0, 2 * dx / width], [0, 1, 2 * dy / height]], device=images.device)
    return classical.moved(images, matrix.expand(len(images), 2, 3))
