"""Where an export goes: an empty folder, files that are hashed as they are written, and the manifest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from qrefine.errors import UserError
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class File:
    """A file of an export. A folder's digest is that of its ``metadata.jsonl``, which has the images' digests."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What was exported, from which version of which table. Written last: an export without it is incomplete."""

    table: str
    version: int
    options: dict[str, Any]  # what was asked for, without what was not
    candidates: int  # rows that did not fail
    selected: int  # of them, by the condition and the share
    samples: int  # written: those selected, without those left out
    bytes: int
    images: dict[str, int]  # how many image files have each suffix
    converted: dict[str, int] = field(default_factory=dict)  # "JPEG to png": images
    renamed: int = 0  # keys that were taken, or that loaders would misread
    left_out: dict[str, int] = field(default_factory=dict)  # why: samples
    notes: tuple[str, ...] = ()  # what a person should know
    files: tuple[File, ...] = ()
    sha256: str = ""  # of the files' names and digests

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


@dataclass
class Counts:
    """What happened to samples on their way; one for each thread, then added up."""

    converted: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)  # samples by the suffixes of their members
    renamed: int = 0

    def add(self, other: Counts) -> None:
        self.converted += other.converted
        self.left_out += other.left_out
        self.images += other.images
        self.members += other.members
        self.renamed += other.renamed


def digest(files: tuple[File, ...]) -> str:
    """One digest for all files: of their names and digests, in order."""
    return hashlib.sha256("".join(f"{file.sha256}  {file.name}\n" for file in files).encode()).hexdigest()


class Output:
    """The output folder. Raises UserError where it is not empty."""

    def __init__(self, store: Store) -> None:
        self._store = store
        try:
            store.make_folder()
            if store.names():
                raise UserError(f"{store.url} is not empty: export into a folder of its own")
        except OSError as error:
            raise storage_error(store.url, error) from error

    @contextmanager
    def open(self, name: str) -> Iterator[Hashed]:
        with self._store.open(name, "wb") as file:
            yield Hashed(file)

    def folder(self, name: str) -> None:
        self._store.make_folder(name)

    def folder_of(self, name: str) -> None:
        """Make the folder that a file lies in."""
        folder = name.rpartition("/")[0]
        if folder:
            self.folder(folder)

    def put(self, name: str, data: bytes) -> None:
        self._store.write(name, data)


class Hashed:
    """Hashes what is written to a file; the caller closes the file."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self.size += len(memoryview(data))
        self._file.write(data)
        return len(memoryview(data))

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
