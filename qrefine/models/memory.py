"""Batch and tile sizes that fit into memory: halved when memory runs out, and remembered."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import torch

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


NO_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")
"""How libraries below torch say it, in errors that are no OutOfMemoryError: cuBLAS, cuDNN, the CPU's allocator."""


def ran_out(error: RuntimeError) -> bool:
    """Whether the error says that memory, of the GPU or the host, ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error).lower() for word in NO_MEMORY)


class Halving:
    """Sizes that are halved when memory runs out, and remembered by key, such as the images' shape.

    ``unit`` names what is counted, for the log. No size goes below ``least``.
    """

    def __init__(self, unit: str, least: int = 1) -> None:
        self.unit, self.least = unit, least
        self._fits: dict[Hashable, int] = {}

    def size(self, wanted: int, key: Hashable = None) -> int:
        """``wanted``, or less if that did not fit before."""
        return min(wanted, self._fits.get(key, wanted))

    def run(self, call: Callable[[int], Result], wanted: int, key: Hashable = None) -> Result:
        """``call(size)`` at the greatest size that fits; raises the call's error if none does."""
        while True:
            size = self.size(wanted, key)
            try:
                return call(size)
            except RuntimeError as error:
                if not ran_out(error) or size // 2 < self.least:
                    raise
            # outside the handler, whose traceback would keep the failed call's tensors alive
            self._fits[key] = size // 2
            log.warning("out of memory at %d %s: from now on %d", size, self.unit, size // 2)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


class FittingBatches:
    """Runs items through a network ``size`` at a time.

    Batches are always padded to the full size with their last item: kernels differ by batch size, and the result
    of an item must not depend on the number of other items.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._halving = Halving("images in a batch")

    def map(
        self,
        items: Sequence[Item],
        call: Callable[[Sequence[Item]], Sequence[Result]],
        shape: Hashable = None,
    ) -> list[Result]:
        """The results in the order of the items; a single item that does not fit raises the error.

        ``shape`` is the shape of all items; the size that fits is remembered per shape.
        """
        results: list[Result] = []

        def next_batch(size: int) -> Sequence[Result]:
            batch = items[len(results) : len(results) + size]
            return call([*batch, *[batch[-1]] * (size - len(batch))])[: len(batch)]

        while len(results) < len(items):
            results += self._halving.run(next_batch, self.size, shape)
        return results
