"""Delta tables as input: which parts they have at which version, and what is refused."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from qrefine.config import load_config
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import read_unit
from qrefine.errors import UserError
from tests.support import encoded, photo

PNG = encoded(photo(size=16))


def rows(*names: str) -> pa.Table:
    return pa.table(
        {"image": [PNG] * len(names), "id": list(names), "split": ["a b" if n < "m" else "z" for n in names]}
    )


def keys(pattern: str) -> list[str | None]:
    return sorted(s.key for unit in list_shards([pattern], {}) for s in read_unit(unit, load_config()))


def test_any_delta_table_at_its_version_or_an_older_one(tmp_path: Path) -> None:
    root = str(tmp_path / "t")
    deltalake.write_deltalake(root, rows("a", "z"), partition_by=["split"])
    deltalake.write_deltalake(root, rows("b"), mode="append")
    assert keys(root) == ["a", "b", "z"]
    assert keys(f"{root}@0") == ["a", "z"]
    deltalake.DeltaTable(root).delete("id = 'a'")
    assert keys(root) == ["b", "z"]
    assert keys(f"{root}@1") == ["a", "b", "z"]
    for unit in list_shards([root], {}):
        assert unit.url.startswith(f"{root}/#part-split=")
        assert unit.size
        assert unit.version


def test_a_table_whose_parts_hold_rows_that_it_does_not_is_refused(tmp_path: Path) -> None:
    root = str(tmp_path / "t")
    deltalake.DeltaTable.create(root, rows("a").schema, configuration={"delta.enableDeletionVectors": "true"})
    with pytest.raises(UserError, match="deletionVectors are not read"):
        list_shards([root], {})


def test_an_empty_table_and_a_version_that_is_not_there_are_one_line(tmp_path: Path) -> None:
    root = str(tmp_path / "t")
    deltalake.DeltaTable.create(root, rows("a").schema)
    with pytest.raises(UserError, match="nothing matches"):
        list_shards([root], {})
    with pytest.raises(UserError, match="cannot use"):
        list_shards([f"{root}@7"], {})
