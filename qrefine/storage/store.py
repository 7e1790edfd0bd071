"""A place where bytes live: a URL with the options to reach it."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

import fsspec

from qrefine.storage.dates import parse_dates_fast
from qrefine.storage.errors import http_status, storage_error
from qrefine.storage.options import S3, delta_options, fsspec_options, protocol_of, refuse_secrets
from qrefine.storage.reader import READ_BYTES, ResumingReader
from qrefine.storage.retry import retrying

START_RETRIES = 1  # of a run's first requests: a wrong address should be reported soon
ALIASES = {"s3a": "s3", "gcs": "gs"}  # to the name that every library knows
# stores without folders; asked to make one, s3fs would create the bucket of a misspelt URL
BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})


def canonical(url: str) -> str:
    """The canonical name of a place: local paths become absolute, so a resume from another folder finds its rows.

    Raises UserError where a URL carries a secret.
    """
    if "://" not in url or url.startswith("file://"):
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))
    refuse_secrets(url)
    protocol, _, place = url.rstrip("/").partition("://")
    return f"{ALIASES.get(protocol, protocol)}://{place}"


@dataclass(frozen=True)
class Store:
    """A folder, or a single object, with the options to reach it. It can be sent to another process.

    Names are relative to the URL; the empty name is the URL itself. Transient errors are retried. Methods
    raise the store's own errors, unless they say otherwise: `storage_error` makes one line of them.
    """

    url: str
    options: dict[str, Any] = field(default_factory=dict, repr=False, hash=False)  # may hold secrets

    @classmethod
    def at(cls, url: str, options: dict[str, Any] | None = None) -> Store:
        """The store at the canonical name of a URL or local path; raises UserError for a URL with a secret."""
        return cls(canonical(url), options or {})

    def join(self, name: str) -> Store:
        """The store at this name below this one."""
        return Store(f"{self.url}/{name}", self.options)

    @property
    def filesystem(self) -> Any:
        """fsspec's file system; raises UserError for a protocol that is unknown or not installed."""
        return self._opened[0]

    @property
    def base(self) -> str:
        """The URL's path on the file system."""
        return self._opened[1]

    @property
    def delta_options(self) -> dict[str, str]:
        """The options under ``deltalake``'s names; raises UserError where no table can be written."""
        return delta_options(self.url, self.options)

    @property
    def is_local(self) -> bool:
        return "file" in self._protocols

    def info(self, name: str = "") -> dict[str, Any] | None:
        """The store's metadata of a place; None if missing. Raises UserError where the store refuses or fails."""
        path = self._path(name)
        try:
            self.filesystem.invalidate_cache(path)  # else it answers from its cache
            found: dict[str, Any] = retrying(lambda: self.filesystem.info(path), path, START_RETRIES)
            return found
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error.__cause__):
                raise storage_error(self.url, error) from error
            return None
        except Exception as error:  # not all of the stores' classes are OSErrors
            raise storage_error(self.url, error) from error

    def exists(self, name: str = "") -> bool:
        """Whether anything exists there. Raises UserError where the store refuses or is unreachable."""
        return self.info(name) is not None

    def names(self, folder: str = "") -> list[str]:
        """Sorted names of a folder's entries, without its path; an empty list where there is no folder."""
        path = self._path(folder)
        self.filesystem.invalidate_cache(path)
        try:
            listed = retrying(lambda: self.filesystem.ls(path, detail=False), path)
        except FileNotFoundError:  # object stores have no empty folders
            return []
        paths = (found.rstrip("/") for found in listed)
        return sorted(found.rpartition("/")[2] for found in paths if found != path)

    def read(self, name: str = "") -> bytes:
        path = self._path(name)
        return bytes(retrying(lambda: self.filesystem.cat_file(path), path))

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes of the object from ``start`` up to ``end``, by one request; fewer where it ends before."""
        path = self._path("")
        return bytes(retrying(lambda: self.filesystem.cat_file(path, start=start, end=end), path))

    def open(self, name: str = "", mode: str = "rb") -> Any:
        """An open file, ``rb`` with random access or ``wb``; its reads and writes are not retried."""
        return self.filesystem.open(self._path(name), mode)

    def reader(self, retries: int) -> ResumingReader:
        """Reads the object from its beginning to its end, and resumes after broken connections."""
        return ResumingReader(self.filesystem, self.base, retries)

    def write(self, name: str, data: bytes) -> None:
        """Write a small object atomically."""
        path = self._path(name)
        if self.is_local:
            with _temporary(path, data) as temporary:
                os.replace(temporary, path)
        else:
            retrying(lambda: self.filesystem.pipe_file(path, data), path)

    def create(self, name: str, data: bytes) -> None:
        """Write a small object that must not exist yet; raises FileExistsError where it does, in a race too.

        Object stores check that themselves (``If-None-Match: *``); on disk a hard link does.
        """
        path = self._path(name)
        if not self.is_local:
            self._create_remotely(path, data)
            return
        with _temporary(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links: still exclusive, but not atomic
                with open(path, "xb") as file:
                    file.write(data)

    def upload(self, name: str, file: IO[bytes]) -> None:
        """Write a file's bytes to a place that nobody reads yet; a retry starts from the first byte."""
        path = self._path(name)

        def once() -> None:
            file.seek(0)
            with self.filesystem.open(path, "wb") as target:
                shutil.copyfileobj(file, target, READ_BYTES)

        retrying(once, path)

    def make_folder(self, name: str = "") -> None:
        """Make a folder and its parents, where the store has folders."""
        if not BUCKETS & self._protocols:
            self.filesystem.makedirs(self._path(name), exist_ok=True)

    def remove(self, name: str) -> None:
        """Delete an object; one that is gone already is no error."""
        path = self._path(name)
        with contextlib.suppress(FileNotFoundError):
            retrying(lambda: self.filesystem.rm_file(path), path)

    def remove_folder(self, name: str = "") -> None:
        """Delete a folder and all in it; one that is gone already is no error."""
        path = self._path(name)
        self.filesystem.invalidate_cache(path)
        with contextlib.suppress(FileNotFoundError):
            retrying(lambda: self.filesystem.rm(path, recursive=True), path)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "options": self.options}  # an open file system stays in its process

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        try:
            found: tuple[Any, str] = fsspec.core.url_to_fs(self.url, **fsspec_options(self.url, self.options))
            if protocol_of(self.url) in S3:
                parse_dates_fast(found[0])
            return found
        except (ImportError, ValueError, TypeError, OSError) as error:
            raise storage_error(self.url, error) from error

    @property
    def _protocols(self) -> set[str]:
        protocol = self.filesystem.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    def _path(self, name: str) -> str:
        return f"{self.base}/{name}" if name else self.base

    def _create_remotely(self, path: str, data: bytes) -> None:
        """An object that exists with the same bytes was created by an earlier attempt, whose answer was lost."""
        try:
            retrying(lambda: self.filesystem.pipe_file(path, data, mode="create"), path)
        except Exception as error:
            # s3fs translates AWS' answer to a lost race; other stores send only a 412
            if not isinstance(error, FileExistsError) and http_status(error.__cause__ or error) != 412:
                raise
            with contextlib.suppress(FileNotFoundError):  # it existed and is gone: not ours
                if retrying(lambda: self.filesystem.cat_file(path), path) == data:
                    return
            raise FileExistsError(path) from error


@contextlib.contextmanager
def _temporary(path: str, data: bytes) -> Iterator[str]:
    """A temporary file with the data, next to a path."""
    temporary = f"{path}.{uuid.uuid4().hex}"  # not tempfile: only the owner can read its files
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
