"""Samples that are made once and served several times, mirrored and turned anew each time.

Making a damaged picture and its truth takes longer than learning from it. A pool of the last samples lets a
network take several steps for each batch that is made, and mixes samples that were made together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

Samples = Mapping[str, Tensor]


@dataclass
class _Ring:
    """Samples of one shape; in a full ring the next overwrite the oldest."""

    kept: dict[str, Tensor]
    put: int = 0

    @property
    def room(self) -> int:
        return len(next(iter(self.kept.values())))

    @property
    def filled(self) -> int:
        return min(self.put, self.room)


@dataclass
class Replay:
    """A pool of the last ``room`` samples of each shape, on their device. All tensors are planes (b, c, h, w)."""

    room: int
    _rings: dict[tuple[torch.Size, ...], _Ring] = field(default_factory=dict, repr=False)

    def put(self, samples: Samples) -> None:
        """Takes a batch in; of one that is larger than the pool the last samples stay."""
        shapes = tuple(value.shape[1:] for value in samples.values())
        if shapes not in self._rings:
            made = {name: value.new_empty(self.room, *value.shape[1:]) for name, value in samples.items()}
            self._rings[shapes] = _Ring(made)
        ring = self._rings[shapes]
        count = len(next(iter(samples.values())))
        taken = min(count, ring.room)
        places = torch.arange(ring.put + count - taken, ring.put + count) % ring.room
        for name, value in samples.items():
            ring.kept[name][places.to(value.device)] = value[-taken:]
        ring.put += count

    def draw(self, pixels: float, rng: np.random.Generator) -> Samples:
        """Samples of one shape by chance, as many as have about ``pixels`` pixels; all are turned alike.

        ValueError where there is none.
        """
        if not self._rings:
            raise ValueError("the pool is empty")
        rings = list(self._rings.values())
        filled = np.array([ring.filled for ring in rings], float)
        ring = rings[rng.choice(len(rings), p=filled / filled.sum())]
        first = next(iter(ring.kept.values()))
        count = max(1, round(pixels / (first.shape[-1] * first.shape[-2])))
        places = torch.from_numpy(rng.choice(ring.filled, count, replace=ring.filled < count))
        turn = int(rng.integers(8))
        return {
            name: turned(value[places.to(value.device, non_blocking=True)], turn)
            for name, value in ring.kept.items()
        }


def turned(planes: Tensor, turn: int) -> Tensor:
    """(b, c, h, w) in one of the eight ways in which a square is mirrored and turned, ``turn`` in 0..7."""
    if turn & 1:
        planes = planes.flip(2)
    if turn & 2:
        planes = planes.flip(3)
    return planes.transpose(2, 3) if turn & 4 else planes
