"""The scale of severity, and the way back to 8 bits: what all kinds of damage share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qrefine.quality.map import Image


def geometric(mild: float, ruined: float, severity: float) -> float:
    """The parameter at ``severity``: ``mild`` at 0, ``ruined`` at 1, in equal ratios between."""
    return float(mild * (ruined / mild) ** severity)


def to_uint8(values: NDArray[np.floating]) -> Image:
    """Values in 0..255, rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
