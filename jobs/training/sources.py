"""What all tasks train on: the pack's images, scenes, and looks that arrive while training runs."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import Bank
from training.pack import Pack
from training.scenes import scenes

LOOK_SIZE = 320
"""Pixels along a side of a look in the bank."""


class Looks(Protocol):
    """What fills the bank with looks in the background (``render.LookBank``)."""

    def take(self) -> Tensor:
        """(n, 3, size, size) uint8 that are ready, n may be 0."""

    def close(self) -> None:
        """Ends what makes them."""


@dataclass(frozen=True)
class Supply:
    """Where samples come from. ``looks``: pictures that the bank keeps; ``processes`` make them."""

    pack: Path
    device: str = "cpu"
    looks: int = 400
    processes: int = 1
    scenes: int = 24
    seed: int = 0


class Sources:
    """A bank that is filled with looks as they are made. Failing processes cost looks, never the training."""

    def __init__(self, supply: Supply) -> None:
        pack, device = Pack(supply.pack), torch.device(supply.device)
        photos = pack.photos("train")
        generator = torch.Generator().manual_seed(supply.seed)
        made = scenes(max(1, supply.scenes // 4), LOOK_SIZE, generator) if supply.scenes else torch.empty(0)
        drawn = [scene.permute(1, 2, 0).numpy() for scene in made]
        self.bank = Bank(device, {"photos": photos, "art": pack.art(), "scenes": drawn}, supply.looks, LOOK_SIZE)
        self._looks: Looks | None = None
        self._closed = False
        if supply.looks and supply.processes:  # starting processes takes seconds: training begins meanwhile
            self._starting = threading.Thread(target=self._start, args=(photos, supply), daemon=True)
            self._starting.start()

    def _start(self, photos: list[NDArray[np.uint8]], supply: Supply) -> None:
        try:
            from training.looks import training_names
            from training.render import LookBank

            looks = LookBank(photos, training_names(), LOOK_SIZE, 256, supply.processes, supply.seed)
            if self._closed:
                looks.close()
            else:
                self._looks = looks
        except Exception as error:
            _warn(error)

    def refill(self) -> None:
        """Takes in what looks are ready."""
        if self._looks is None:
            return
        try:
            ready = self._looks.take()
            if len(ready):
                self.bank.add_looks(ready)
        except Exception as error:
            _warn(error)
            self.close()

    def close(self) -> None:
        """Ends the processes."""
        self._closed = True
        looks, self._looks = self._looks, None
        if looks is not None:
            looks.close()

    def notes(self) -> str:
        """How many looks have come."""
        return f"{self.bank.count('looks')} looks"


def _warn(error: Exception) -> None:
    print(f"no more looks: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
