"""Banks of looks, filled by processes in the background while a network trains."""

from __future__ import annotations

import math
import multiprocessing
import os
import queue
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Image = NDArray[np.uint8]

_BATCH = 8
"""Pictures to a message."""

_PATIENCE = 20
"""Starts in a row of a process from which nothing came, before it is given up."""


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
    of: _Sources, names: Sequence[str], size: int, seed: int, worker: int, first: int, out: Connection
) -> None:
    """A worker: sends (its next number, pictures, their families, how many failed) until nobody reads them."""
    if hasattr(os, "nice"):
        os.nice(10)  # looks are drawn in the time that training leaves
    number, sources = first, of.mapped()
    try:
        while True:
            images: list[Image] = []
            families: list[int] = []
            failed = 0
            while len(images) < _BATCH and failed < 50 * _BATCH:
                try:
                    made, family = picture(sources, names, size, (seed, worker, number))
                except Exception:
                    failed += 1
                else:
                    images.append(made)
                    families.append(family)
                number += 1
            out.send((number, np.stack(images) if images else None, families, failed))
    except (BrokenPipeError, ConnectionResetError):
        return


class LookBank:
    """Looks of ``names`` at (size, size) from ``sources``, made by ``processes`` that stand by themselves.

    About ``count`` pictures wait to be taken; when they are taken the processes make others, until ``close``.
    A look that raises is skipped and counted in ``failed``; a process that dies starts again, past what may have
    killed it. Which pictures are made is a function of (seed, worker, number); in which order they come is not,
    unless there is one process. With ``processes`` 0 the caller makes ``count`` itself at each ``take``: slow,
    but the same every time.
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
        self._closed = False
        self._ready: queue.Queue[tuple[Image, list[int]]] = queue.Queue(max(1, count // _BATCH))
        self._workers: list[BaseProcess | None] = [None] * processes
        self._readers: list[threading.Thread] = []
        if processes:
            self._folder = tempfile.TemporaryDirectory(prefix="looks-")
            self._sources = _Sources.written(self.sources, Path(self._folder.name) / "sources")
            self._readers = [threading.Thread(target=self._read, args=(w,), daemon=True) for w in range(processes)]
            for reader in self._readers:
                reader.start()

    def _read(self, worker: int) -> None:
        """Keeps one process at work. It has a pipe of its own: one that is killed holds no lock of the others."""
        context, first, silent = multiprocessing.get_context("spawn"), 0, 0
        while not self._closed and silent < _PATIENCE:
            receiver, sender = context.Pipe(duplex=False)
            arguments = (self._sources, self.names, self.size, self.seed, worker, first, sender)
            process = context.Process(target=_fill, args=arguments, daemon=True)
            process.start()
            sender.close()
            self._workers[worker] = process
            silent += 1
            try:
                while not self._closed:
                    if receiver.poll(0.2):
                        first, images, families, failed = receiver.recv()
                        self.failed, silent = self.failed + failed, 0
                        if images is not None:
                            self._wait_to_put((images, families))
            except (EOFError, OSError):
                first += 10_000
            finally:
                receiver.close()
                process.terminate()
                process.join(2)

    def _wait_to_put(self, ready: tuple[Image, list[int]]) -> None:
        while not self._closed:
            try:
                self._ready.put(ready, timeout=0.2)
                return
            except queue.Full:
                continue

    def arrays(self, wait: float = 0.0) -> Image:
        """What is ready, (n, size, size, 3) uint8, n may be 0; waits up to ``wait`` seconds for the first.

        ``families`` then names them.
        """
        if not self._readers:
            return self._by_itself()
        parts: list[Image] = []
        self.families = []
        while sum(map(len, parts)) < self.count:
            try:
                first = wait > 0 and not parts
                images, families = self._ready.get(timeout=wait) if first else self._ready.get_nowait()
            except queue.Empty:
                break
            parts.append(images)
            self.families += [self.names[i] for i in families]
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
        self._closed = True
        for reader in self._readers:
            reader.join(5)
        if self._readers:
            self._readers = []
            self._folder.cleanup()

    def __enter__(self) -> LookBank:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
