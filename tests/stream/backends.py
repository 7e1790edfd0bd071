"""Backends that misbehave, named in the tests by their import path."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import cv2
import numpy as np
import ray

from qrefine.models.mappers.piqe import PiqeMapper
from qrefine.quality.map import Image, Plane, QualityMap

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


class DiceRestorer:
    """Mixes the image with a smooth version of it, by as much as the sample's seed says."""

    context = 8

    def __init__(self, weights: str | None = None) -> None:
        del weights

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[np.ndarray],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        return [self._one(*job) for job in zip(images, strengths, seeds, strict=True)]

    def _one(self, image: Image, plane: np.ndarray, seed: int) -> Image:
        weight = plane[..., None] * np.random.default_rng(seed).uniform(0, 1)
        return np.rint(weight * cv2.medianBlur(np.ascontiguousarray(image), 5) + (1 - weight) * image).astype(
            np.uint8
        )


class SlowMapper(PiqeMapper):
    """Takes as long as a model would, and writes down each image that it is given: one line with the node's id."""

    def __init__(self, weights: str | None = None, grid: int = 8, seconds: float = 0.2, log: str | None = None):
        super().__init__(weights, grid)
        self.seconds, self.log = seconds, log

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        maps = []
        for image in images:
            time.sleep(self.seconds)
            maps += super().__call__([image])
            if self.log is not None:
                with open(self.log, "a") as log:
                    log.write(f"{ray.get_runtime_context().get_node_id()}\n")
        return maps


class BrightnessMapper:
    """A stub: what is dark counts as bad."""

    def __init__(self, weights: str | None = None, grid: int = 4) -> None:
        self._grid = grid

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        return [QualityMap(np.full((self._grid, self._grid), image.mean() / 255, np.float32)) for image in images]


class BrightRestorer:
    """A stub: what it may change becomes bright."""

    context = 0

    def __init__(self, weights: str | None = None) -> None:
        pass

    def __call__(
        self, images: Sequence[Image], strengths: Sequence[Plane], prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[Image]:
        return [
            np.where(plane[..., None] > 0, 255, image).astype(np.uint8)
            for image, plane in zip(images, strengths, strict=True)
        ]
