"""Lists the shards behind paths, URLs, braces, globs and folders."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import braceexpand

from qrefine.errors import UserError
from qrefine.storage.errors import storage_error
from qrefine.storage.retry import retrying
from qrefine.storage.store import START_RETRIES, Store

SHARD_PATTERNS = ("*.tar", "*.tar.gz", "*.tgz")
# in this order, of: gcs; s3 and http; abfs; hdfs; local disks; http without an etag
VERSION_MARKS = ("md5Hash", "ETag", "etag", "modificationTime", "mtime", "Last-Modified")


@dataclass(frozen=True)
class Shard:
    """A shard in the listing; ``size`` (bytes) and ``version`` are None where the store does not give them."""

    url: str
    size: int | None
    version: str | None = None  # changes with the content: the size, and the store's etag or modification time


def list_shards(patterns: Sequence[str], storage_options: dict[str, Any]) -> list[Shard]:
    """The shards behind paths, URLs, ``{000..999}`` braces, globs and folders; sorted, each once.

    Raises UserError where a pattern matches nothing or the store refuses.
    """
    found: dict[str, Shard] = {}
    for pattern in patterns:
        matches = [shard for url in expand_braces(pattern) for shard in _list_one(Store.at(url, storage_options))]
        if not matches:
            raise UserError(f"nothing matches {pattern!r}: check the path, the glob and the rights to list it")
        found.update((shard.url, shard) for shard in matches)
    return sorted(found.values(), key=lambda shard: shard.url)


def expand_braces(pattern: str) -> list[str]:
    """The URLs behind a pattern's braces; raises UserError where they do not close."""
    try:
        return list(braceexpand.braceexpand(pattern))
    except ValueError as error:  # UnbalancedBracesError, which the package does not export to type checkers
        raise UserError(f"unbalanced braces in {pattern!r}") from error


def _list_one(store: Store) -> Iterator[Shard]:
    filesystem, path = store.filesystem, store.base
    filesystem.invalidate_cache()  # else a long-lived process lists what was there when it began
    info = store.info()  # before globbing: a name may hold brackets, a URL a question mark
    try:
        infos = [] if info is None else [info]
        if info is None and glob.has_magic(path):
            infos = _glob(filesystem, path)
        elif info is not None and info["type"] == "directory":
            folder = glob.escape(path.rstrip("/"))
            infos = [info for pattern in SHARD_PATTERNS for info in _glob(filesystem, f"{folder}/{pattern}")]
        infos = [_followed(filesystem, info) for info in infos]
    except Exception as error:  # not all of the stores' classes are OSErrors
        raise storage_error(store.url, error) from error
    for info in infos:
        if info["type"] == "file":
            yield Shard(_full_url(filesystem, info["name"]), info.get("size"), _version(info))


def _glob(filesystem: Any, pattern: str) -> list[dict[str, Any]]:
    return list(retrying(lambda: filesystem.glob(pattern, detail=True), pattern, START_RETRIES).values())


def _followed(filesystem: Any, info: dict[str, Any]) -> dict[str, Any]:
    """The target of a local link; the listing says only that it is a link."""
    if not info.get("islink"):
        return info
    try:
        return filesystem.info(info["name"]) | {"name": info["name"]}
    except FileNotFoundError:
        return info | {"type": "file", "size": None}  # a broken link: the shard's row will say so


def _version(info: dict[str, Any]) -> str | None:
    """The size and the first of VERSION_MARKS that the file system gives; None where it gives none of them."""
    mark = next((info[name] for name in VERSION_MARKS if info.get(name)), None)
    return None if mark is None else f"{info.get('size')}-{str(mark).strip(chr(34))}"


def _full_url(filesystem: Any, path: str) -> str:
    """The path with its protocol, as users write it; local paths stay plain."""
    protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
    if protocol in ("file", "local"):
        return str(path)
    return str(filesystem.unstrip_protocol(path))
