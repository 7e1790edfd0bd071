"""Batches that fit: where memory runs out the batch is halved, and the size remembered."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class FittingBatches:
    """Runs items through a network ``size`` at a time.

    Batches always have the full size, filled up with their last item: kernels differ by batch size, and an item's
    answer must not depend on how many others came with it. Raises ValueError for a size below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch_size must be at least 1, not {size}")
        self.size = size

    def map(self, items: Sequence[Item], call: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
        """The answers in the order of the items; a single item that does not fit raises OutOfMemoryError."""
        results: list[Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.size]
            answers = self._call([*batch, *[batch[-1]] * (self.size - len(batch))], call)
            if answers is not None:
                results += answers[: len(batch)]
        return results

    def _call(
        self, batch: Sequence[Item], call: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Sequence[Result] | None:
        try:
            return call(batch)
        except torch.OutOfMemoryError:
            if self.size == 1:
                raise
        # outside the handler, whose traceback would keep the batch's tensors alive
        self.size //= 2
        log.warning("out of memory: from now on batches of %d", self.size)
        free_memory()
        return None


def free_memory() -> None:
    """Give back what a failed batch left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
