"""The journal of a run that commits once, at its end: its parts that are written but not yet in the log.

Parts are written as always; their records go into objects ``_qrefine/staged-<version>-<plan>/<run>-<n>.json``,
each created once and never changed. ``version`` is the table's version when the run began, and ``plan`` is a
digest of what the run does: a killed run is continued only by a run with the same plan. A journal of a version
older than the table's is stale: its run has committed, or another run has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from qrefine.storage.store import Store
from qrefine.table.lease import FOLDER
from qrefine.table.parts import PartRecord

STAGED = "staged-"


@dataclass(frozen=True)
class Entry:
    """Parts of one shard that were written, and the parts that they replace, staged or committed."""

    shard: str
    version: str | None  # of the shard
    records: tuple[PartRecord, ...]
    sources: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)  # outcomes of rows that were done again

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "records": [record.to_json() for record in self.records]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Entry:
        records = tuple(PartRecord.from_json(text) for text in values["records"])
        return cls(**values | {"records": records, "sources": tuple(values["sources"])})


class Journal:
    """One run's journal; entries are valid while their shard is unchanged."""

    def __init__(self, store: Store, version: int, plan: str, run: str, present: Callable[[], set[str]]) -> None:
        """``store``: the table's folder; ``present`` lists the names of the parts in it, which may take long."""
        self._store = store.join(f"{FOLDER}/{STAGED}{version:020d}-{plan}")
        self._run = run
        self._present = present
        self._objects = 0
        self.entries: list[Entry] = []

    def resume(self, valid: Callable[[Entry], bool]) -> None:
        """Load the entries of an earlier run. Leaves out those that are not ``valid`` or miss a part, and those
        that replace parts of entries left out."""
        gone: set[str] = set()
        entries = list(self._read())
        present = self._present() if entries else set()
        for entry in entries:
            paths = {record.path for record in entry.records}
            if paths <= present and not gone.intersection(entry.sources) and valid(entry):
                self.entries.append(entry)
            else:
                gone |= paths

    def add(self, entries: Sequence[Entry]) -> None:
        """Write entries to one new object."""
        if not entries:
            return
        if not self._objects:
            self._store.make_folder()
        data = json.dumps([entry.to_dict() for entry in entries]).encode()
        self._store.create(f"{self._run}-{self._objects:08d}.json", data)
        self._objects += 1
        self.entries += entries

    @property
    def superseded(self) -> set[str]:
        """Parts, staged or committed, that other parts replace."""
        return {path for entry in self.entries for path in entry.sources}

    def records(self) -> list[PartRecord]:
        """The records that a commit must add: of each staged part that no other part replaces."""
        superseded = self.superseded
        found = (record for entry in self.entries for record in entry.records)
        return [record for record in found if record.path not in superseded]

    def discard(self) -> None:
        """Delete the journal after the commit."""
        self._store.remove_folder()

    def _read(self) -> Iterable[Entry]:
        for name in self._store.names():  # run ids and numbers ascend: this is the order of writing
            yield from _entries(self._store, name)


def journal_parts(store: Store, version: int) -> set[str]:
    """Names of the parts in journals of this version of the table; journals of older ones are removed."""
    parts: set[str] = set()
    for name in store.names(FOLDER):
        if not name.startswith(STAGED):
            continue
        journal = store.join(f"{FOLDER}/{name}")
        if int(name.removeprefix(STAGED).partition("-")[0]) != version:
            journal.remove_folder()
            continue
        for one in journal.names():
            parts |= {record.path for entry in _entries(journal, one) for record in entry.records}
    return parts


def _entries(journal: Store, name: str) -> list[Entry]:
    return [Entry.from_dict(values) for values in json.loads(journal.read(name))]
