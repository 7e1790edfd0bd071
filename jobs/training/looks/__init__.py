"""Undamaged looks by program: what a mapper or a judge must learn to leave alone.

A look is a pure function (photo or None, size, generator) -> picture. It is made as a person or a printer would make
it, sharp and anti-aliased where they would, and carries the label "undamaged". What limits the networks is the
variety of families, so there are many small ones with rich parameters rather than a few large ones.

``held_out`` families are seen by no training and no calibration: they stand for what nobody thought of. They are
chosen so that (1) every theme has some, (2) several are points and sparse marks, which are hardest to tell from
noise, and (3) most have a neighbour that is trained on (hatching is, cross-hatching is not; stars are, constellation
charts are not; knitting is, embroidery is not), so that they measure whether an idea was learnt or only its examples.
"""

from __future__ import annotations

import importlib

from training.looks.base import LOOKS, Look

_MODULES = (
    "drawing", "nature", "optics", "painting", "patterns", "pixels", "points", "printing", "science"
)  # fmt: skip
for _name in _MODULES:
    importlib.import_module(f"training.looks.{_name}")


def training_names() -> tuple[str, ...]:
    """Families that may be trained on, sorted."""
    return tuple(sorted(name for name, look in LOOKS.items() if not look.held_out))


def held_out_names() -> tuple[str, ...]:
    """Families for validation alone, sorted."""
    return tuple(sorted(name for name, look in LOOKS.items() if look.held_out))


__all__ = ["LOOKS", "Look", "held_out_names", "training_names"]
