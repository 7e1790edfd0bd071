"""Backends that misbehave, named in the tests by their import path."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qrefine.quality.map import Image, QualityMap
from qrefine.quality.piqe import PiqeMapper

KILLER = 77  # an image whose first pixel is this grey kills the process that maps it
THROWER = 78  # and this one makes the mapper throw


class DangerousMapper(PiqeMapper):
    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        for image in images:
            if (image[0, 0] == KILLER).all():
                os._exit(1)
            if (image[0, 0] == THROWER).all():
                raise RuntimeError("this image cannot be mapped")
        return super().__call__(images)
