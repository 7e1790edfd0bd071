"""The quality map: one score per patch, high where quality is high (Q-Refine, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB pixels, shape (h, w, 3), 0..255: input and output of every stage."""

Plane = NDArray[np.float32]
"""One value per pixel, shape (h, w), in [0, 1]: flattened maps, masks and strengths."""


@dataclass(frozen=True)
class QualityMap:
    """Q, an n x n grid over the image whatever its aspect ratio; ``values[i, j]`` in [0, 1] is row i, column j.

    Raises ValueError if the values are not a finite, square, non-empty grid within [0, 1].
    """

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float32)  # a copy: the map is immutable
        if values.ndim != 2 or values.shape[0] != values.shape[1] or values.size == 0:
            raise ValueError(f"a quality map is a square grid, not an array of shape {values.shape}")
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ValueError("a quality map holds finite values in [0, 1]")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def n(self) -> int:
        """Patches along each side."""
        return int(self.values.shape[0])

    @property
    def score(self) -> float:
        """q = Avg(Q), in [0, 1] (equation 2)."""
        return float(self.values.mean(dtype=np.float64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QualityMap) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())


class Mapper(Protocol):
    """Predicts quality maps. The answer for an image must not depend on the other images of the batch."""

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]: ...
