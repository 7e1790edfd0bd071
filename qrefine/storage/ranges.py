"""A reader of any place in a file that tries again what its connection broke."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from qrefine.storage.errors import transient
from qrefine.storage.retry import pause

T = TypeVar("T")


class RangeReader(io.RawIOBase):
    """Random access to a file, for formats whose index stands at their end.

    ``retries`` counts failures in a row; a read that succeeds resets it. ``failure`` is the error of the store
    that ended reading, where there was one: damaged data has none.
    """

    def __init__(self, filesystem: Any, path: str, retries: int) -> None:
        self._filesystem, self._path, self._retries = filesystem, path, retries
        self._file: Any = None
        self._size: int | None = None
        self._position = 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        self._position = (self.size if start is None else start) + offset
        return self._position

    @property
    def size(self) -> int:
        """Bytes of the file."""
        if self._size is None:
            self._size = int(self._again(lambda: self._open().size))
        return self._size

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self._position)
        wanted = left if size < 0 else min(size, left)
        pieces: list[bytes] = []
        while wanted:
            pieces.append(self._again(partial(self._piece, wanted)))
            self._position += len(pieces[-1])
            wanted -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        """At least one byte and at most ``size`` at the position."""
        file = self._open()
        file.seek(self._position)
        data = bytes(file.read(size))
        if not data:
            raise EOFError("the store ended the read early")
        return data

    def close(self) -> None:
        self._drop()
        super().close()

    def _open(self) -> Any:
        if self._file is None:
            # the caller reads large pieces: reading ahead of them would be in vain
            self._file = self._filesystem.open(self._path, "rb", cache_type="none")
        return self._file

    def _again(self, action: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                return action()
            except Exception as error:  # the stores' own classes have no common parent
                failures += 1
                self._drop()
                if failures > self._retries or not transient(error):
                    self.failure = error
                    raise
                pause(failures, f"read of {self._path} at {self._position}", error)

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(Exception):  # it is broken: nothing is lost
                self._file.close()
            self._file = None
