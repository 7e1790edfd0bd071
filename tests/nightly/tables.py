"""What the tests of nights look at: a table's rows, at any version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deltalake

from tests.support import encoded, photo


def rows_of(table: Path, version: int | None = None) -> list[dict[str, Any]]:
    rows = deltalake.DeltaTable(str(table), version=version).to_pyarrow_table().to_pylist()
    places = [(row["shard"], row["index"]) for row in rows]
    assert len(set(places)) == len(places)
    return sorted(rows, key=lambda row: (row["shard"], row["index"]))


def by_shard(table: Path, version: int | None = None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(table, version):
        found.setdefault(Path(row["shard"]).name, []).append(row)
    return found


def version_of(table: Path) -> int:
    return deltalake.DeltaTable(str(table)).version()


def grey(value: int) -> bytes:
    image = photo(size=64)
    image[0, 0] = value
    return encoded(image)
