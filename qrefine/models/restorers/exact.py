"""Damage that the picture itself tells exactly is measured and undone; what is left is for a network to guess."""

from __future__ import annotations

import numpy as np
import torch

from qrefine.models.restorers.deconvolution import without_blur
from qrefine.models.restorers.grids import without_grid
from qrefine.models.restorers.impulses import without_impulses
from qrefine.quality.map import Image, Plane

SURE = 32.0
"""What is measured is undone wholly from a strength of 1 / SURE on: a mapper's doubt says nothing of how much."""


def undone(image: Image, strength: Plane, device: torch.device) -> Image:
    """``image`` (h, w, 3) without specks, grids and blur where ``strength`` (h, w) in [0, 1] is positive; the same
    object where there is nothing of the kind."""
    weight = measured_weight(strength)
    known = without_impulses(image, weight > 0)
    known = without_grid(known, weight)
    return without_blur(known, weight, device)


def measured_weight(strength: Plane) -> Plane:
    """How far each pixel belongs to what is measured, (h, w) in [0, 1]."""
    return np.minimum(strength * SURE, 1)
