"""Makes a mapper surer of what it sees, and raises no alarm more or less.

A head that doubts everything calls severe damage moderate, and then less of it is repaired. Its logit of all
damage is multiplied about the threshold's: each patch stays on its side of B_MQ, and the order of patches stays.
"""

from __future__ import annotations

from math import log
from pathlib import Path

from qrefine.models.mappers.embedded_net import ARCHITECTURE, MapperNet
from training import tensors
from training.loop import filled

THRESHOLD = log(0.3 / 0.7)
"""The logit of Q = .7, which is B_MQ unless the settings say otherwise."""


def steepen(weights: Path, factor: float, out: Path) -> str:
    """Writes the mapper ``weights`` with its logits ``factor`` times as far from the threshold's; gives a line.

    ValueError where ``factor`` is not above 0 or the weights are no mapper's.
    """
    if not 0 < factor < float("inf"):
        raise ValueError(f"a factor lies above 0, not {factor}")
    filled(MapperNet(), weights, ARCHITECTURE)
    held, notes = tensors.load(weights)
    rows, biases = held["head.last.weight"].clone(), held["head.last.bias"].clone()
    rows[0] *= factor
    biases[0] = factor * biases[0].float() + (1 - factor) * THRESHOLD
    changed = held | {"head.last.weight": rows, "head.last.bias": biases}
    tensors.save(out, changed, notes)
    return f"{weights}, {factor:g} times as steep -> {out}"
