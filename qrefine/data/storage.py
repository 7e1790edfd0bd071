"""Where bytes live: fsspec URLs, listed and read so that a broken connection is resumed where it broke."""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import os
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import braceexpand
import fsspec

from qrefine.errors import UserError

log = logging.getLogger(__name__)

SHARD_PATTERNS = ("*.tar", "*.tar.gz", "*.tgz")
# of gcs, s3 and http, abfs, hdfs, local disks, http without an etag
VERSION_MARKS = ("md5Hash", "ETag", "etag", "modificationTime", "mtime", "Last-Modified")
READ_BYTES = 1 << 20
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 20.0


@dataclass(frozen=True)
class Shard:
    """A shard as the listing shows it; ``size`` in bytes and ``version`` None where the store does not tell."""

    url: str
    size: int | None
    version: str | None = None  # changes with the content: its size, and the store's etag or time of change


def canonical(url: str) -> str:
    """The one name of a place: local paths become absolute, so that a resume from elsewhere finds its rows."""
    if "://" not in url or url.startswith("file://"):
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))
    return url.rstrip("/")


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
    try:
        infos = [filesystem.info(path)]  # first: a name may hold brackets, an address a question mark
        if infos[0]["type"] == "directory":
            folder = glob.escape(path.rstrip("/"))
            infos = [
                info
                for pattern in SHARD_PATTERNS
                for info in filesystem.glob(f"{folder}/{pattern}", detail=True).values()
            ]
    except FileNotFoundError:
        infos = list(filesystem.glob(path, detail=True).values()) if glob.has_magic(path) else []
    except OSError as error:
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
        return fsspec.core.url_to_fs(url, **(storage_options if "://" in url else {}))
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
        filesystem.pipe_file(path, data, mode="create" if new else "overwrite")
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


def storage_error(url: str, error: Exception) -> UserError:
    """One line that says what a store refused and how to mend it."""
    text = " ".join(str(error).split()) or type(error).__name__
    kind = type(error).__name__
    if isinstance(error, ImportError):
        hint = "install the extra for that store: pip install 'qrefine[s3]', [gcs] or [azure]"
    elif "credential" in text.lower() or "credential" in kind.lower():
        hint = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or storage_options"
    elif isinstance(error, PermissionError) or "403" in text or "denied" in text.lower():
        hint = "check the credentials' rights and the bucket's name"
    elif "connect" in text.lower() or "resolve" in text.lower():
        hint = "check the address: AWS_ENDPOINT_URL or storage_options.endpoint_url"
    else:
        hint = "check the URL and storage_options"
    return UserError(f"cannot use {url}: {text} ({hint})")


def delta_options(storage_options: dict[str, Any]) -> dict[str, str]:
    """fsspec's options for S3 in the words of ``deltalake``; what the environment says needs no options."""
    client = storage_options.get("client_kwargs") or {}
    endpoint = storage_options.get("endpoint_url") or client.get("endpoint_url")
    options = {
        "AWS_ACCESS_KEY_ID": storage_options.get("key"),
        "AWS_SECRET_ACCESS_KEY": storage_options.get("secret"),
        "AWS_SESSION_TOKEN": storage_options.get("token"),
        "AWS_REGION": storage_options.get("region") or client.get("region_name"),
        "AWS_ENDPOINT_URL": endpoint,
    }
    address = endpoint or os.environ.get("AWS_ENDPOINT_URL", "")
    if address.startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return {name: str(value) for name, value in options.items() if value is not None}


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
                    self._file.seek(self.position)
                data = bytes(self._file.read(size))
                if not data and size and self.position < (getattr(self._file, "size", None) or 0):
                    raise EOFError("the store ended the read early")
                self.position += len(data)
                return data
            except (FileNotFoundError, PermissionError, IsADirectoryError):
                raise
            except Exception as error:  # also what is no OSError, as aiohttp's ClientPayloadError
                failures += 1
                self._drop()
                if failures > self._retries:
                    raise
                wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**failures) * random.uniform(0.5, 1)
                log.debug("read of %s broke at %d (%s); again in %.1f s", self._path, self.position, error, wait)
                time.sleep(wait)

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
