"""Lists the units of a corpus behind paths, URLs, braces, globs, folders and tables."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import braceexpand

from qrefine.corpus.folders import is_image, list_folder
from qrefine.corpus.names import Rule, is_litter
from qrefine.corpus.tables import LOG, is_table, list_table
from qrefine.corpus.units import File, Shard, inner
from qrefine.errors import UserError
from qrefine.storage.errors import storage_error
from qrefine.storage.retry import retrying
from qrefine.storage.store import START_RETRIES, Store

log = logging.getLogger(__name__)

SHARD_NAME = r"[^/]*\.(?i:tar|tar\.(?:gz|bz2|xz|lzma|zst)|tgz|tbz2?|txz|tlz|tzst|parquet)"
# in this order, of: gcs; s3 and http; abfs; hdfs; Hugging Face; local disks; http without an etag
VERSION_MARKS = ("md5Hash", "ETag", "etag", "modificationTime", "blob_id", "mtime", "Last-Modified")
PINNED = re.compile(r"(?P<table>.+)@(?P<version>\d+)", re.DOTALL)


def list_shards(patterns: Sequence[str], storage_options: dict[str, Any], keys: Rule = "auto") -> list[Shard]:
    """The shards behind paths, URLs, ``{000..999}`` braces, globs and folders; sorted, each once.

    ``keys`` is the rule by which files of an image folder belong together (``input.keys``).
    Raises UserError where a pattern matches nothing or the store refuses.
    """
    found: dict[str, Shard] = {}
    for pattern in patterns:
        stores = [Store.at(url, storage_options) for url in expand_braces(pattern)]
        matches = [shard for store in stores for shard in _list_one(store, keys)]
        if not matches:
            raise UserError(f"nothing matches {pattern!r}: check the path, the glob and the rights to list it")
        if images := [shard.url for shard in matches if is_image(shard.url)]:
            raise UserError(f"{pattern!r} names images, such as {images[0]}: name the folder that they lie in")
        found.update((shard.url, shard) for shard in matches)
    return sorted(found.values(), key=lambda shard: shard.url)


def expand_braces(pattern: str) -> list[str]:
    """The URLs behind a pattern's braces; raises UserError where they do not close."""
    try:
        return list(braceexpand.braceexpand(pattern))
    except ValueError as error:  # UnbalancedBracesError, which the package does not export to type checkers
        raise UserError(f"unbalanced braces in {pattern!r}") from error


def units_of(urls: Sequence[str], storage_options: dict[str, Any], keys: Rule = "auto") -> dict[str, Shard]:
    """The units that have these URLs; slices of folders are listed again, and may not be there any more.

    Raises UserError as `list_shards` does.
    """
    folders = {place.container for url in urls if (place := inner(url)) and place.bits is not None}
    listed = {unit.url: unit for unit in (list_shards(sorted(folders), storage_options, keys) if folders else [])}
    plain = {url: Shard(url, None) for url in urls if (place := inner(url)) is None or place.part is not None}
    return {**{url: listed[url] for url in urls if url in listed}, **plain}


def _list_one(store: Store, keys: Rule) -> Iterator[Shard]:
    filesystem, path = store.filesystem, store.base
    filesystem.invalidate_cache()  # else a long-lived process lists what was there when it began
    info = store.info()  # before globbing: a name may hold brackets, a URL a question mark
    if (
        info is None
        and (pinned := PINNED.fullmatch(store.url))
        and is_table(Store(pinned["table"], store.options))
    ):
        yield from list_table(Store(pinned["table"], store.options), int(pinned["version"]))
        return
    if info is not None and info["type"] == "directory":
        yield from list_table(store) if is_table(store) else _in_folder(store, keys)
        return
    try:
        infos = [] if info is None else [info]
        if info is None and glob.has_magic(path):
            infos = _glob(filesystem, path)
        infos = [_followed(filesystem, info) for info in infos]
    except Exception as error:  # not all of the stores' classes are OSErrors
        raise storage_error(store.url, error) from error
    for info in infos:
        if info["type"] == "file":
            yield Shard(_full_url(filesystem, info["name"]), info.get("size"), _version(info))


def _in_folder(store: Store, keys: Rule) -> Iterator[Shard]:
    """The shards below a folder; where it has none, slices of its images. A table below it is another input."""
    filesystem, path = store.filesystem, store.base.rstrip("/")
    try:
        found = retrying(lambda: filesystem.find(path, detail=True), path, START_RETRIES)
        below = {name[len(path) + 1 :]: info for name, info in found.items()}
        tables = tuple(name.rpartition(f"{LOG}/")[0] for name in below if f"/{LOG}/" in name)
        files = [
            (name, info)
            for name, info in ((name, _followed(filesystem, info)) for name, info in below.items())
            if info["type"] == "file" and not is_litter(name) and not (tables and name.startswith(tables))
        ]
    except Exception as error:  # not all of the stores' classes are OSErrors
        raise storage_error(store.url, error) from error
    shards = [(name, info) for name, info in files if re.fullmatch(SHARD_NAME, name.rpartition("/")[2])]
    for _, info in shards:
        yield Shard(_full_url(filesystem, info["name"]), info.get("size"), _version(info))
    if not shards:
        yield from list_folder(store, (File(n, "", info.get("size"), _version(info)) for n, info in files), keys)
    elif beside := sum(is_image(name) for name, _ in files):
        log.warning("%s holds shards: %d images beside them are not read", store.url, beside)


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
