"""Restorers that other tasks learn from: weights files, finished or still being written by a training beside."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import tensors
from training.structures import STRUCTURES

Restore = Callable[[Tensor, Tensor], Tensor]
"""Pixels (b, 3, h, w) in [0, 1] and strength (b, 1, h, w) -> restored pixels, of 8-bit levels."""


@dataclass
class Snapshots:
    """Restorers by their files. A file that is missing or unsound is left out until it changes.

    ``every``: seconds between two looks at the files. Of a file that changes while training runs the last
    ``keep`` states stay, for the judge of restorers should know weak ones too. ``exact``: what can be measured is
    undone first, as the product does; image by image with OpenCV, so hardly on a GPU.
    """

    paths: Sequence[Path]
    device: str
    every: float = 30.0
    keep: int = 3
    exact: bool = False
    _looked: float = field(default=-1e9, repr=False)
    _known: dict[Path, float] = field(default_factory=dict, repr=False)
    _nets: dict[Path, list[Restore]] = field(default_factory=dict, repr=False)

    def refresh(self) -> None:
        """Reads what has changed."""
        if time.monotonic() - self._looked < self.every:
            return
        self._looked = time.monotonic()
        for path in self.paths:
            try:
                changed = path.stat().st_mtime
                if self._known.get(path) == changed:
                    continue
                self._known[path] = changed
                nets = self._nets.setdefault(path, [])
                nets.append(_loaded(path, self.device, self.exact))
                del nets[: -self.keep]
            except FileNotFoundError:
                continue
            except Exception as error:
                print(f"{path}: no restorer yet: {error}", file=sys.stderr, flush=True)

    def __len__(self) -> int:
        return sum(map(len, self._nets.values()))

    def pick(self, rng: np.random.Generator) -> Restore | None:
        """One of them, None where there is none yet."""
        nets = [net for of in self._nets.values() for net in of]
        return nets[int(rng.integers(len(nets)))] if nets else None


def _loaded(path: Path, device: str, exact: bool) -> Restore:
    weights, notes = tensors.load(path)
    found = [each for each in STRUCTURES.values() if each.architecture == notes.get("architecture")]
    if not found or found[0].told:  # nobody here could tell it
        raise ValueError(f"expected weights of a restorer, found {notes.get('architecture')}")
    net = found[0].build()
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    net.eval().requires_grad_(False).to(device)
    for parameter in net.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return partial(restored, partial(found[0].answer, net), exact=exact)


@torch.no_grad()
def restored(restore: Restore, pixels: Tensor, strength: Tensor, exact: bool = False) -> Tensor:
    """The answer in 8-bit levels; sides are multiples of the network's stride."""
    pixels = measured(pixels, strength) if exact else pixels
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.device.type != "cpu"):
        result = restore(pixels.contiguous(memory_format=torch.channels_last), strength)
    return (result.float() * 255).round().clamp(0, 255) / 255


def measured(pixels: Tensor, strength: Tensor) -> Tensor:
    """``pixels`` without what ``qrefine.models.restorers.exact`` undoes."""
    from qrefine.models.restorers.exact import undone  # needs OpenCV, which a machine for training may lack

    images = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    pairs = zip(images, strength[:, 0].cpu().numpy(), strict=True)
    known = [undone(np.ascontiguousarray(image), asked, torch.device("cpu")) for image, asked in pairs]
    return torch.from_numpy(np.stack(known)).to(pixels.device).permute(0, 3, 1, 2).float() / 255
