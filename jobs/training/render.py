"""Banks of looks, filled by processes in the background while a network trains."""

from __future__ import annotations

import math
import multiprocessing
import queue
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Image = NDArray[np.uint8]

_BATCH = 8
"""Pictures to a message."""


def picture(sources: Sequence[Image], names: Sequence[str], size: int, seed: Sequence[int]) -> tuple[Image, int]:
    """The look that ``seed`` stands for, and the index of its family in ``names``. Raises what the look raises."""
    from training.looks import LOOKS

    rng = np.random.default_rng(list(seed))
    number = int(rng.integers(len(names)))
    made = LOOKS[names[number]]
    source = sources[int(rng.integers(len(sources)))] if made.photo and sources and rng.random() < 0.95 else None
    return made.render(source, size, rng), number


@dataclass(frozen=True)
class _Sources:
    """Pictures in one file, which all processes map: a hundred photographs are sent to none of them."""

    path: Path
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def written(cls, sources: Sequence[Image], path: Path) -> _Sources:
        with open(path, "wb") as file:
            for source in sources:
                file.write(np.ascontiguousarray(source).tobytes())
        return cls(path, tuple(source.shape for source in sources))

    def mapped(self) -> list[Image]:
        if not self.shapes:
            return []
        whole, images, start = np.memmap(self.path, np.uint8, "r"), [], 0
        for shape in self.shapes:
            count = math.prod(shape)
            images.append(np.asarray(whole[start : start + count]).reshape(shape))
            start += count
        return images


def _fill(
    of: _Sources, names: Sequence[str], size: int, seed: int, worker: int, first: int, out: Any, stop: Any
) -> None:
    """A worker: messages of ``_BATCH`` pictures, their families and how many looks failed, until ``stop``."""
    number, sources = first, of.mapped()
    while not stop.is_set():
        images: list[Image] = []
        families: list[int] = []
        failed = 0
        while len(images) < _BATCH and not stop.is_set():
            try:
                made, family = picture(sources, names, size, (seed, worker, number))
            except Exception:
                failed += 1
                if failed > 50 * _BATCH:
                    break
            else:
                images.append(made)
                families.append(family)
            number += 1
        message = (worker, number, np.stack(images) if images else None, families, failed)
        while not stop.is_set():
            try:
                out.put(message, timeout=0.5)
                break
            except queue.Full:
                continue


class LookBank:
    """Looks of ``names`` at (size, size) from ``sources``, made by ``processes`` that stand by themselves.

    At most ``count`` pictures wait to be taken; when they are taken the processes make others, until ``close``.
    A look that raises is skipped and counted in ``failed``; a process that dies starts again. Which pictures are
    made is a function of (seed, worker, number); in which order they come is not, unless there is one process.
    With ``processes`` 0 the caller makes them itself, ``count`` at each ``take``: slow, but the same every time.
    """

    def __init__(
        self, sources: Sequence[Image], names: Sequence[str], size: int, count: int, processes: int, seed: int
    ) -> None:
        from training.looks import LOOKS

        if unknown := sorted(set(names) - set(LOOKS)):
            raise ValueError(f"no look is called {', '.join(unknown)}")
        if not names or size < 8 or count < 1:
            raise ValueError("a bank wants names, a size of at least 8 and a count of at least 1")
        self.sources, self.names, self.size, self.count, self.seed = list(sources), tuple(names), size, count, seed
        self.failed, self.made, self._number = 0, 0, 0
        self.families: list[str] = []
        self._next = [0] * processes
        self._workers: list[BaseProcess] = []
        if processes:
            self._folder = tempfile.TemporaryDirectory(prefix="looks-")
            self._sources = _Sources.written(self.sources, Path(self._folder.name) / "sources")
            context = multiprocessing.get_context("spawn")
            self._stop = context.Event()
            self._queue = context.Queue(max(1, count // _BATCH))
            self._workers = [self._start(worker) for worker in range(processes)]

    def _start(self, worker: int) -> BaseProcess:
        context = multiprocessing.get_context("spawn")
        arguments = (
            self._sources, self.names, self.size, self.seed, worker, self._next[worker], self._queue, self._stop
        )  # fmt: skip
        process = context.Process(target=_fill, args=arguments, daemon=True)
        process.start()
        return process

    def arrays(self, wait: float = 0.0) -> Image:
        """What is ready, (n, size, size, 3) uint8, n may be 0; waits up to ``wait`` seconds for the first.

        ``families`` then names them.
        """
        if not self._workers:
            return self._by_itself()
        parts: list[Image] = []
        self.families = []
        until = time.monotonic() + wait
        while True:
            try:
                left = until - time.monotonic()
                message = self._queue.get(timeout=left) if left > 0 and not parts else self._queue.get_nowait()
            except queue.Empty:
                break
            worker, number, images, families, failed = message
            self.failed += failed
            self._next[worker] = number
            if images is not None:
                parts.append(images)
                self.families += [self.names[i] for i in families]
            if sum(map(len, parts)) >= self.count:
                break
        for worker, process in enumerate(self._workers):
            if not process.is_alive() and not self._stop.is_set():
                self._next[worker] += 10_000  # past what may have killed it
                self._workers[worker] = self._start(worker)
        self.made += sum(map(len, parts))
        return np.concatenate(parts) if parts else np.zeros((0, self.size, self.size, 3), np.uint8)

    def _by_itself(self) -> Image:
        images: list[Image] = []
        self.families = []
        while len(images) < self.count:
            try:
                made, family = picture(self.sources, self.names, self.size, (self.seed, 0, self._number))
            except Exception:
                self.failed += 1
                if self.failed > 50 * self.count:
                    raise
            else:
                images.append(made)
                self.families.append(self.names[family])
            self._number += 1
        self.made += len(images)
        return np.stack(images)

    def take(self, wait: float = 0.0) -> torch.Tensor:
        """What is ready as a uint8 tensor (n, 3, size, size), n may be 0; waits ``wait`` seconds for the first."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.arrays(wait).transpose(0, 3, 1, 2)))

    def close(self) -> None:
        """Ends the processes."""
        if self._workers:
            self._stop.set()
            until = time.monotonic() + 3
            while any(p.is_alive() for p in self._workers) and time.monotonic() < until:
                try:
                    self._queue.get(timeout=0.05)
                except queue.Empty:
                    continue
            for process in self._workers:
                if process.is_alive():
                    process.terminate()
                process.join(2)
            self._workers = []
            self._queue.cancel_join_thread()
            self._queue.close()
            self._folder.cleanup()

    def __enter__(self) -> LookBank:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
