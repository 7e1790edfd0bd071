"""Batches of fixed shapes: a sample's result does not depend on the other samples of its batch.

Kernels differ by batch size, so the last batch of a group is padded with its last sample, and a batch of a given
image size always has the same number of samples. That costs time if groups are small: ``exact=False`` pads only to
the next power of two, and an image may then differ by one 8-bit level between batches. If a batch does not fit
into memory its size is halved, for that image size and permanently; a single sample that does not fit fails alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qrefine.errors import NotFiniteError
from qrefine.models.diffusion.text import Embedding
from qrefine.models.memory import Halving
from qrefine.quality.map import Image
from qrefine.quality.pixels import laid_over

Size = tuple[int, int]
Finish = Callable[[], np.ndarray]
"""Waits for a launched batch and returns its images, (B, h, w, 3) uint8."""


@dataclass(frozen=True)
class Job:
    """One image to restore, padded to a size that the model takes."""

    index: int
    image: Image
    plane: NDArray[Any]  # what it says for each pixel depends on the backend: strengths, or steps
    text: Embedding
    seed: int
    group: Hashable  # jobs of different groups never share a batch
    rank: float  # jobs of a group are sorted by descending rank, so that a batch has similar ranks

    @property
    def size(self) -> Size:
        return self.image.shape[0], self.image.shape[1]


class Batches:
    """Runs jobs through ``launch`` in batches of fixed sizes.

    ``batch_size`` samples of ``reference`` (height, width) go into one batch; of smaller images up to twice as
    many, by area.
    """

    def __init__(self, batch_size: int, reference: Size, exact: bool = True) -> None:
        self.batch_size = batch_size
        self.reference = reference
        self.exact = exact
        self._halving = Halving("images in a batch of diffusion")

    def size_of(self, size: Size) -> int:
        """Samples in a batch of images of this size."""
        by_area = self.batch_size * self.reference[0] * self.reference[1] // (size[0] * size[1])
        return self._halving.size(max(1, min(by_area, 2 * self.batch_size)), size)

    def run(self, jobs: Sequence[Job], launch: Callable[[Sequence[Job]], Finish]) -> dict[int, Image]:
        """Images by job index. Each batch is launched before the pixels of the previous one are fetched."""
        groups: dict[Hashable, list[Job]] = {}
        for job in jobs:
            groups.setdefault((job.size, job.group), []).append(job)
        results: dict[int, Image] = {}
        pending: tuple[Sequence[Job], Finish] | None = None
        for group in groups.values():
            queue = sorted(group, key=lambda job: (-job.rank, job.index))
            while queue:
                count = self.size_of(queue[0].size)
                if not self.exact:
                    count = min(count, 1 << (min(count, len(queue)) - 1).bit_length())
                launched = self._halving.run(partial(_launched, queue, launch), count, queue[0].size)
                _collect(pending, results)
                pending, queue = launched, queue[len(launched[0]) :]
        _collect(pending, results)
        return results


def _launched(
    queue: Sequence[Job], launch: Callable[[Sequence[Job]], Finish], count: int
) -> tuple[Sequence[Job], Finish]:
    """The first ``count`` jobs, launched; a shorter batch is padded with its last job."""
    batch = queue[:count]
    return batch, launch([*batch, *[batch[-1]] * (count - len(batch))])


def _collect(pending: tuple[Sequence[Job], Finish] | None, results: dict[int, Image]) -> None:
    if pending is not None:
        batch, finish = pending
        results.update((job.index, image) for job, image in zip(batch, finish(), strict=False))


def to_device(images: Sequence[Image], device: torch.device) -> torch.Tensor:
    """(B, 3, h, w) float32 in [0, 1] on the device; pinned memory, so that the copy overlaps with computation."""
    pixels = torch.from_numpy(np.stack(images))
    if device.type == "cuda":
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).float() / 255


def to_host(pixels: torch.Tensor) -> Finish:
    """(B, 3, h, w) floats in [0, 1] as (B, h, w, 3) uint8 on the host, once they are there.

    Raises NotFiniteError, then, where a value is not finite: as bytes it would be black.
    """
    finite = pixels.isfinite().all()
    rounded = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    if rounded.device.type != "cuda":
        return partial(_finite, rounded, finite)
    host = torch.empty(rounded.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(rounded, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def finish() -> np.ndarray:
        copied.synchronize()
        return _finite(host, finite)

    return finish


def _finite(pixels: torch.Tensor, finite: torch.Tensor) -> np.ndarray:
    if not finite:
        raise NotFiniteError("the model gave values that are not finite")
    return pixels.numpy()


def jobs_of(
    make: Callable[..., Job],
    images: Sequence[Image],
    planes: Sequence[NDArray[Any]],
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> list[Job]:
    """A job per image with something to do; ``make`` takes its position, image, plane, prompt and seed."""
    every = enumerate(zip(images, planes, prompts, seeds, strict=True))
    return [make(i, *one) for i, one in every if one[1].any()]


def all_pasted(images: Sequence[Image], found: Mapping[int, Image], planes: Sequence[NDArray[Any]]) -> list[Image]:
    """The images with the restored pixels (by position) pasted in; the others unchanged."""
    return [
        pasted(image, found[i], plane) if i in found else image
        for i, (image, plane) in enumerate(zip(images, planes, strict=True))
    ]


def pasted(image: Image, restored: Image, plane: NDArray[Any]) -> Image:
    """The restored pixels where the plane is above 0, the image's own elsewhere."""
    height, width = plane.shape
    return laid_over(image, restored[:height, :width], plane > 0)
