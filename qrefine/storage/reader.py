"""A forward reader that resumes where its connection broke."""

from __future__ import annotations

import io
import logging
from typing import Any

from qrefine.storage.errors import transient
from qrefine.storage.retry import pause

log = logging.getLogger(__name__)

READ_BYTES = 1 << 20


class ResumingReader(io.RawIOBase):
    """Reads a file from its beginning to its end; reopens it where an I/O error broke the read.

    Without it a network error in mid-stream looks like the end of the archive. ``retries`` counts failures in
    a row; a read that succeeds resets it. A missing file is not retried.
    """

    def __init__(self, filesystem: Any, path: str, retries: int) -> None:
        self._filesystem, self._path = filesystem, path
        self._retries = retries
        self._file: Any = None
        self.position = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        failures = 0
        while True:
            try:
                if self._file is None:
                    self._file = self._filesystem.open(self._path, "rb")
                    self._go_on()
                data = bytes(self._file.read(size))
                if not data and size and self.position < (getattr(self._file, "size", None) or 0):
                    raise EOFError("the store ended the read early")
                self.position += len(data)
                return data
            except Exception as error:  # not all are OSErrors: aiohttp's ClientPayloadError is not
                failures += 1
                self._drop()
                if failures > self._retries or not transient(error):
                    raise
                pause(failures, f"read of {self._path} at {self.position}", error)

    def _go_on(self) -> None:
        """Go to where the last connection broke; a server without range requests sends the whole file again."""
        if not self.position or self._file.seekable():
            self._file.seek(self.position)
            return
        rest = self.position
        while rest:
            passed = len(self._file.read(min(rest, READ_BYTES)))
            if not passed:
                raise EOFError("the store ended the read early")
            rest -= passed

    def close(self) -> None:
        self._drop()
        super().close()

    def _drop(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except Exception:  # it is broken: nothing is lost
                log.debug("closing a broken read failed", exc_info=True)
            self._file = None
