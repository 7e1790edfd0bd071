"""Where bytes live: fsspec URLs, listed and read so that a broken connection is resumed where it broke."""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import braceexpand
import fsspec

from qrefine.errors import UserError
from qrefine.storage.options import fsspec_options, refuse_secrets
from qrefine.storage.retry import http_status, pause, retrying, storage_error, transient

log = logging.getLogger(__name__)

SHARD_PATTERNS = ("*.tar", "*.tar.gz", "*.tgz")
# of gcs, s3 and http, abfs, hdfs, local disks, http without an etag
VERSION_MARKS = ("md5Hash", "ETag", "etag", "modificationTime", "mtime", "Last-Modified")
READ_BYTES = 1 << 20
START_RETRIES = 1  # of what a run asks first: a wrong address should be told soon
ALIASES = {"s3a": "s3", "gcs": "gs"}  # one name each, which every library knows


@dataclass(frozen=True)
class Shard:
    """A shard as the listing shows it; ``size`` in bytes and ``version`` None where the store does not tell."""

    url: str
    size: int | None
    version: str | None = None  # changes with the content: its size, and the store's etag or time of change


def canonical(url: str) -> str:
    """The one name of a place: local paths become absolute, so that a resume from elsewhere finds its rows.

    Raises UserError where a URL carries a secret.
    """
    if "://" not in url or url.startswith("file://"):
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))
    refuse_secrets(url)
    protocol, _, place = url.rstrip("/").partition("://")
    return f"{ALIASES.get(protocol, protocol)}://{place}"


def list_shards(patterns: Sequence[str], storage_options: dict[str, Any]) -> list[Shard]:
    """The shards behind paths, URLs, ``{000..999}`` braces, globs and folders; sorted, each once.

    Raises UserError where a pattern matches nothing or the store refuses.
    """
    found: dict[str, Shard] = {}
    for pattern in patterns:
        matches: list[Shard] = []
        for url in _expand_braces(pattern):
            matches += _list_one(canonical(url), storage_options)
        if not matches:
            raise UserError(f"nothing matches {pattern!r}: check the path, the glob and the rights to list it")
        found.update((shard.url, shard) for shard in matches)
    return sorted(found.values(), key=lambda shard: shard.url)


def _expand_braces(pattern: str) -> list[str]:
    try:
        return list(braceexpand.braceexpand(pattern))
    except ValueError as error:  # UnbalancedBracesError, which the package does not export to type checkers
        raise UserError(f"unbalanced braces in {pattern!r}") from error


def _list_one(url: str, storage_options: dict[str, Any]) -> list[Shard]:
    filesystem, path = open_filesystem(url, storage_options)
    filesystem.invalidate_cache()  # else a process that goes on lists what was there when it began
    info = look(url, storage_options)  # first: a name may hold brackets, an address a question mark
    try:
        infos = [] if info is None else [info]
        if info is None and glob.has_magic(path):
            infos = list(retrying(lambda: filesystem.glob(path, detail=True), url, START_RETRIES).values())
        elif info is not None and info["type"] == "directory":
            folder = glob.escape(path.rstrip("/"))
            infos = [
                info
                for pattern in SHARD_PATTERNS
                for info in filesystem.glob(f"{folder}/{pattern}", detail=True).values()
            ]
    except Exception as error:  # not all of the stores' classes are OSErrors
        raise storage_error(url, error) from error
    infos = [_followed(filesystem, info) for info in infos]
    return [
        Shard(full_url(filesystem, info["name"]), info.get("size"), _version(info))
        for info in infos
        if info["type"] == "file"
    ]


def _version(info: dict[str, Any]) -> str | None:
    """Of what fsspec's file systems tell, the first that changes with the content, behind the size."""
    mark = next((info[name] for name in VERSION_MARKS if info.get(name)), None)
    return None if mark is None else f"{info.get('size')}-{str(mark).strip(chr(34))}"


def look(url: str, storage_options: dict[str, Any]) -> dict[str, Any] | None:
    """What the store tells of a place; None where nothing is. Raises UserError where it refuses or is away."""
    filesystem, path = open_filesystem(url, storage_options)
    try:
        found: dict[str, Any] = retrying(lambda: filesystem.info(path), url, START_RETRIES)
        return found
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error.__cause__):
            raise storage_error(url, error) from error
        return None
    except Exception as error:
        raise storage_error(url, error) from error


def _followed(filesystem: Any, info: dict[str, Any]) -> dict[str, Any]:
    """What a local link leads to; a listing tells only that it is one."""
    if not info.get("islink"):
        return info
    try:
        return filesystem.info(info["name"]) | {"name": info["name"]}
    except FileNotFoundError:
        return info | {"type": "file", "size": None}  # leads nowhere: the shard's row will say so


def open_filesystem(url: str, storage_options: dict[str, Any]) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path on it; raises UserError for a protocol that is not there."""
    try:
        return fsspec.core.url_to_fs(url, **fsspec_options(url, storage_options))
    except (ImportError, ValueError, TypeError, OSError) as error:
        raise storage_error(url, error) from error


def full_url(filesystem: Any, path: str) -> str:
    """The path with its protocol, as users write it; local paths stay plain."""
    protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    if protocol in ("file", "local"):
        return str(path)
    return str(filesystem.unstrip_protocol(path))


def write_object(filesystem: Any, path: str, data: bytes, *, new: bool = False) -> None:
    """Write a small object so that no reader sees half of it; ``new``: raise FileExistsError where one is.

    Object stores do both by themselves (``If-None-Match: *``); on disk a link and a rename do.
    """
    if "file" not in filesystem.protocol:
        if new:
            _create_remotely(filesystem, path, data)
        else:
            retrying(lambda: filesystem.pipe_file(path, data), path)
        return
    temporary = f"{path}.{uuid.uuid4().hex}"  # no tempfile: that is readable by its owner alone
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        if not new:
            os.replace(temporary, path)
            return
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: exclusive all the same, if not whole at once
            with open(path, "xb") as file:
                file.write(data)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _create_remotely(filesystem: Any, path: str, data: bytes) -> None:
    """Create an object where none is; one that is there and is this very one was created by an attempt before.

    Its answer was lost, and the client tried again by itself.
    """
    try:
        retrying(lambda: filesystem.pipe_file(path, data, mode="create"), path)
    except Exception as error:
        # s3fs knows AWS' answer to a lost race; other stores send 412 alone
        if not isinstance(error, FileExistsError) and http_status(error.__cause__ or error) != 412:
            raise
        with contextlib.suppress(FileNotFoundError):  # it was there, and is gone: not ours
            if retrying(lambda: filesystem.cat_file(path), path) == data:
                return
        raise FileExistsError(path) from error


def upload(filesystem: Any, path: str, file: IO[bytes]) -> None:
    """Write a file's bytes to a place that nobody reads yet; as a whole again where the store breaks."""

    def once() -> None:
        file.seek(0)
        with filesystem.open(path, "wb") as target:
            shutil.copyfileobj(file, target, READ_BYTES)

    retrying(once, path)


class ResumingReader(io.RawIOBase):
    """A forward reader that reopens and goes on where an I/O error broke it.

    Without it a network error in mid-stream looks like the end of the archive. ``retries`` counts failures in
    a row; a read that succeeds resets it. A missing file is not retried.
    """

    def __init__(self, url: str, storage_options: dict[str, Any], retries: int) -> None:
        self._filesystem, self._path = open_filesystem(url, storage_options)
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
            except Exception as error:  # also what is no OSError, as aiohttp's ClientPayloadError
                failures += 1
                self._drop()
                if failures > self._retries or not transient(error):
                    raise
                pause(failures, f"read of {self._path} at {self.position}", error)

    def _go_on(self) -> None:
        """To where the last connection broke; a server without ranges sends all of it once more."""
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
