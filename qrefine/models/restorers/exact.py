"""Damage that the picture itself tells exactly is measured and undone; what is left is for a network to guess."""

from __future__ import annotations

import torch

from qrefine.models.restorers.deconvolution import without_blur
from qrefine.models.restorers.grids import without_grid
from qrefine.models.restorers.impulses import without_impulses
from qrefine.quality.map import Image, Plane


def undone(image: Image, weight: Plane, device: torch.device) -> Image:
    """``image`` (h, w, 3) without specks, grids and blur where ``weight`` (h, w) in [0, 1] is positive; the same
    object where there is nothing of the kind."""
    known = without_impulses(image, weight > 0)
    known = without_grid(known, weight)
    return without_blur(known, weight, device)
