"""The parts of qrefine that the evaluation measures: the one place that knows where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qrefine.config import Bounds, RefineConfig
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.restorers.embedded import EmbeddedRestorer
from qrefine.quality.map import QualityMap
from qrefine.quality.regions import flatten, strength
from qrefine.stages.refiner import Refiner
from training.figures import Image, Plane


@dataclass(frozen=True)
class Product:
    """What is measured, as functions of arrays.

    ``scores``: images -> maps in [0, 1], (rows, columns) each. ``restore``: an image and strengths -> an image.
    ``strengths``: a map (rows, columns), and a size (h, w) -> strengths (h, w). ``refine``: images -> for each its
    result, or None where it was kept. ``lq`` and ``mq`` are the bounds of a poor and of a middling patch.
    """

    scores: Callable[[Sequence[Image]], list[Plane]]
    restore: Callable[[Image, Plane], Image]
    strengths: Callable[[Plane, tuple[int, int]], Plane]
    refine: Callable[[Sequence[Image]], list[Image | None]]
    lq: float
    mq: float


def load(mapper: str | None, restorer: str | None, judge: str | None) -> Product:
    """The embedded models with the given weights, by default the package's; ValueError for others."""
    settings = {
        "mapper": {"weights": mapper},
        "inpaint": {"weights": restorer},
        "enhance": {"blind": {"weights": restorer}},
        "accept": {"judge": {"weights": judge}},
    }
    seen, mended = EmbeddedMapper(mapper), EmbeddedRestorer(restorer)
    refiner, bounds = Refiner(RefineConfig.model_validate(settings)), Bounds()

    def scores(images: Sequence[Image]) -> list[Plane]:
        return [quality.values for quality in seen(images)]

    def restore(image: Image, plane: Plane) -> Image:
        return mended([image], [plane], [""], [0])[0]

    def strengths(values: Plane, size: tuple[int, int]) -> Plane:
        return strength(flat(values, size), bounds.lq, bounds.mq)

    def refine(images: Sequence[Image]) -> list[Image | None]:
        return [r.image if r.status == "refined" else None for image in images for r in refiner([image])]

    return Product(scores, restore, strengths, refine, bounds.lq, bounds.mq)


def flat(values: Plane, size: tuple[int, int]) -> Plane:
    """A map at the image's size: as the product interpolates it; at that size already, as it is."""
    if values.shape == size:
        return values
    return flatten(QualityMap(values), *size)
