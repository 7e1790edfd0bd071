"""Names in an export: keys that every loader reads as they were meant, and that stay inside the folder."""

from __future__ import annotations

import re

MOST_BYTES = 180  # of a file name without its suffix: file systems take 255
_TAR = re.compile(r"(.+)\.(tar|tgz|tar\.gz|tar\.bz2|tar\.xz)(?:\.zst)?", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_SPECIAL = re.compile(r"__[^/]*__(/|$)")  # WebDataset skips members of such names


def loader_key(key: str, index: int) -> str:
    """The key for a WebDataset loader; a key without dots, control characters and odd folders stays as it is.

    Loaders end the key at the first dot of the base name, so dots become underscores. Folders stay, but lead
    nowhere else: ``..`` and a leading ``/`` are dropped. An empty key becomes the sample's index.
    """
    folders, _, base = _CONTROL.sub("_", key).rpartition("/")
    parts = [part for part in folders.split("/") if part not in ("", ".", "..")]
    name = "/".join([*parts, base.replace(".", "_") or f"{index:09d}"])
    return f"_{name.lstrip('_')}" if _SPECIAL.match(name) else name


def file_key(key: str, index: int) -> str:
    """The key as the name of a file in one folder, without a suffix: folders are joined by underscores."""
    name = loader_key(key, index).replace("/", "_")
    return name.encode()[:MOST_BYTES].decode("utf-8", "ignore")


def member_name(name: str) -> str:
    """A member's name as the source has it, unless it would lead out of a folder that it is unpacked in."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        return "/".join(part for part in parts if part not in ("", "..")).replace("\0", "_") or "_"
    return name


class Names:
    """Gives each name once: one that is taken gets ``-2``, ``-3`` and so on.

    ``fold``: names that differ in case alone are the same, as on some file systems.
    """

    def __init__(self, fold: bool = False) -> None:
        self._fold = fold
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def unique(self, name: str) -> str:
        found, number = name, self._next.get(name, 2)
        while self._folded(found) in self._taken:
            found, number = f"{name}-{number}", number + 1
        self._next[name] = number
        self._taken.add(self._folded(found))
        return found

    def _folded(self, name: str) -> str:
        return name.lower() if self._fold else name


def output_names(shards: list[str]) -> dict[str, str]:
    """For each source shard its tar in an export: its own path below the folder that all shards share.

    What is no tar by its name (a Parquet file, a slice of a folder) gives one. Zstandard is left off: the standard
    library of most Pythons lacks it.
    """
    paths = [shard.replace("/#", "/").replace("://", "/") for shard in shards]
    folders = [path.split("/")[:-1] for path in paths]
    levels = zip(*folders, strict=False)
    shared = next((depth for depth, names in enumerate(levels) if len(set(names)) > 1), min(map(len, folders)))
    names = Names(fold=True)
    found = {}
    for shard, path in zip(shards, paths, strict=True):
        inside = member_name("/".join(path.split("/")[shared:]))
        match = _TAR.fullmatch(inside)
        name, suffix = match.groups() if match else (inside.removesuffix(".parquet"), "tar")
        found[shard] = f"{names.unique(name)}.{suffix}"
    return found
