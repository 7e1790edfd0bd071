"""A chunk of the table as NumPy arrays, each column converted only when it is used."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from qrefine.sample import REFUSED

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]


class Rows:
    """A chunk's columns as arrays; numbers are NaN where the table has null."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def numbers(self, name: str) -> Values:
        column = self.table[name].cast(pa.float64()).combine_chunks()
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str | None]]:
        """A string column as positions into its distinct values."""
        column = self.table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        return column.indices.to_numpy(zero_copy_only=False).astype(np.int64), column.dictionary.to_pylist()

    def equals(self, name: str, value: str) -> Flags:
        found = pc.fill_null(pc.equal(self.table[name], value), False)
        return np.asarray(found.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)

    @cached_property
    def before(self) -> Values:
        return self.numbers("quality_before")

    @cached_property
    def after(self) -> Values:
        return self.numbers("quality_after")

    @cached_property
    def refined(self) -> Flags:
        return self.equals("status", "refined")

    @cached_property
    def failed(self) -> Flags:
        return self.equals("status", "failed")

    @cached_property
    def refused(self) -> Flags:
        found = pc.is_in(self.table["decision"], pa.array(sorted(REFUSED)))
        return np.asarray(found.combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)

    @cached_property
    def stages(self) -> dict[str, Flags]:
        """Which rows hold which stage."""
        column = self.table["stages"].combine_chunks()
        parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
        names = pc.list_flatten(column).dictionary_encode()
        flags = {name: np.zeros(len(self), dtype=bool) for name in names.dictionary.to_pylist()}
        for position, name in enumerate(names.dictionary.to_pylist()):
            flags[name][parents[names.indices.to_numpy(zero_copy_only=False) == position]] = True
        return flags


class ChunkRows(Rows):
    """A chunk with what the choice of rows needs: the part, and one hash per row."""

    def __init__(self, table: Any, part: str, first: int) -> None:
        super().__init__(table)
        self.part, self.first = part, first

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """64 well mixed bits of shard and index (the finaliser of MurmurHash3)."""
        codes, names = self.codes("shard")
        salts = [hashlib.sha256((name or "").encode()).digest()[:8] for name in names]
        mixed = np.array([int.from_bytes(salt, "big") for salt in salts], dtype=np.uint64)[codes]
        mixed = mixed ^ self.numbers("index").astype(np.uint64)
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
        return mixed ^ (mixed >> np.uint64(33))
