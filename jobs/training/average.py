"""Averages the weights of two trainings of which one began with the other's weights.

The mean of such weights is often better than either, above all on pictures unlike the training's (Wortsman et al.,
"Robust fine-tuning of zero-shot models", arXiv 2109.01903).
"""

from __future__ import annotations

from pathlib import Path

import torch

from training import tensors


def average(first: Path, second: Path, share: float, out: Path) -> str:
    """Writes ``share`` of ``second``'s weights plus the rest of ``first``'s, as float16; gives a line about it.

    ValueError where ``share`` is not in [0, 1] or the two are of different networks.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies in [0, 1], not {share}")
    (one, notes), (other, others) = tensors.load(first), tensors.load(second)
    shapes = [{name: value.shape for name, value in weights.items()} for weights in (one, other)]
    if notes.get("architecture") != others.get("architecture") or shapes[0] != shapes[1]:
        raise ValueError(f"{first} and {second} hold weights of different networks")
    mixed = {
        name: torch.lerp(value.float(), other[name].float(), share).half() if value.is_floating_point() else value
        for name, value in one.items()
    }
    steps = str(sum(int(each.get("steps", 0)) for each in (notes, others)))
    tensors.save(out, mixed, {"architecture": notes.get("architecture", ""), "steps": steps})
    return f"{share:g} of {second} and {1 - share:g} of {first} -> {out}"
