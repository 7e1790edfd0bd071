"""What is selected: conditions, shares, groups, ties; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.table.export.output import MANIFEST
from qrefine.table.export.request import Request, chosen
from qrefine.table.export.run import export
from qrefine.table.export.select import Choice, select
from qrefine.table.table import Table
from tests.table.parts import SCHEMA, part, rows

SCORES = (0.5, 0.9, 0.1, 0.9, None, 0.7, 0.3, 0.9, 0.2, 0.6)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Ten rows in each of two shards with SCORES and two generators; in b.tar one row failed."""
    table = Table.open_or_create(Store.at(str(tmp_path_factory.mktemp("select") / "table")), SCHEMA)
    for shard in ("b.tar", "a.tar"):
        for start in (5, 0):
            failed = {3} if shard == "b.tar" else set()
            some = rows([(i, "failed" if i in failed else "kept") for i in range(start, start + 5)], shard)
            some = _set(some, "quality_before", pa.array(SCORES[start : start + 5], pa.float32()))
            own = [json.dumps({"generator": "sd" if i % 2 else "flux"}) for i in range(start, start + 5)]
            table.commit([part(table.root, _set(some, "metadata", pa.array(own)))], run="r")
    return table


def _set(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)


def chosen_rows(table: Table, **choice: Any) -> dict[str, list[int]]:
    found = select(table, table.pieces(), Choice(**choice))
    assert found.candidates == 19
    return {shard: indexes.tolist() for shard, indexes in found.rows.items()}


@pytest.mark.parametrize(
    ("choice", "a", "b"),
    [
        ({}, [*range(10)], [0, 1, 2, 4, 5, 6, 7, 8, 9]),
        ({"where": 'quality_before > 0.6 and "index" < 7'}, [1, 3, 5], [1, 5]),
        # 17 rows have a score: 0.3 of them are 6; five are 0.9, and of two with 0.7 the first is taken
        ({"top": 0.3, "by": "quality_before"}, [1, 3, 5, 7], [1, 7]),
        ({"top": 0.1, "by": "quality_before"}, [1, 3], []),
        ({"top": 0.1, "by": "quality_before", "lower_is_better": True}, [2], [2]),
        ({"top": 1, "by": "quality_before"}, [0, 1, 2, 3, 5, 6, 7, 8, 9], [0, 1, 2, 5, 6, 7, 8, 9]),
        ({"top": 0.25, "by": "quality_before", "per": "shard"}, [1, 3, 7], [1, 7]),
        ({"top": 0.1, "by": "quality_before", "per": "metadata.generator"}, [0, 1], []),
        ({"top": 0.2, "by": "index", "where": "shard = 'b.tar'"}, [], [8, 9]),
        ({"top": 0.1, "by": "quality_before", "per": "metadata.nothing"}, [1, 3], []),
    ],
)
def test_these_rows_are_selected(table: Table, choice: dict[str, Any], a: list[int], b: list[int]) -> None:
    expected = {shard: indexes for shard, indexes in (("a.tar", a), ("b.tar", b)) if indexes}
    assert chosen_rows(table, **choice) == expected


@given(
    values=st.lists(st.one_of(st.none(), st.floats(0, 1, width=16)), min_size=1, max_size=40),
    share=st.floats(0.01, 1),
    lowest=st.booleans(),
)
def test_a_share_is_the_first_of_the_sorted_rows(values: list[Any], share: float, lowest: bool) -> None:
    from qrefine.table.export import select as module

    by = np.array([np.nan if value is None else value for value in values], np.float32)
    groups = np.arange(len(values), dtype=np.int32) % 3
    found = module._top(by, groups, share, lowest).tolist()
    expected: list[int] = []
    for group in range(3):
        scored = [i for i in range(len(by)) if i % 3 == group and not np.isnan(by[i])]
        scored.sort(key=lambda i: by[i] if lowest else -by[i])
        expected += scored[: int(np.ceil(share * len(scored) - 1e-9))]
    assert found == sorted(expected)


def test_the_manifest_says_what_was_selected(table: Table, tmp_path: Path) -> None:
    choice = Choice(where="shard = 'a.tar'", top=0.5, by="quality_before", per="status")
    manifest = export(table, Store.at(str(tmp_path / "out")), Request(choice=choice))
    told = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert told["options"] == {
        "format": "webdataset", "where": "shard = 'a.tar'", "top": 0.5, "by": "quality_before", "per": "status",
    }  # fmt: skip
    assert (told["candidates"], told["selected"], told["samples"], told["version"]) == (19, 5, 5, 4)
    assert manifest.samples == 5


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (Choice(top=0, by="quality_before"), "--top 0: a share above 0"),
        (Choice(top=1.5, by="quality_before"), "at most 1"),
        (Choice(top=float("nan"), by="quality_before"), "at most 1"),
        (Choice(top=0.3), "--top needs --by"),
        (Choice(by="quality_before"), "belong to --top"),
        (Choice(per="shard"), "belong to --top"),
        (Choice(top=0.3, by="key"), "--by key: no column of numbers"),
        (Choice(top=0.3, by="nothing"), "there are index"),
        (Choice(top=0.3, by="quality_before", per="image"), "--per image: there is no such column"),
        (Choice(where="image is null"), "there is no column"),
        (Choice(where="quality_before > 7"), "of 19 rows, --where 'quality_before > 7' selects none"),
        (Choice(where='"index" = 4', top=0.5, by="quality_before"), "selects none"),
    ],
)
def test_a_wrong_choice_is_one_line_and_writes_nothing(
    table: Table, tmp_path: Path, choice: Choice, reason: str
) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        export(table, Store.at(str(tmp_path / "out")), Request(choice=choice))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("zip", "as-is", "samples", None), "unknown format 'zip'"),
        ((None, "bmp", "samples", None), "unknown image format 'bmp'"),
        ((None, "as-is", "tree", None), "unknown layout 'tree'"),
        ((None, "as-is", "samples", "twins"), "unknown kind of pairs 'twins'"),
        (("webdataset", "as-is", "samples", "preference"), "--format parquet"),
        (("imagefolder", "as-is", "samples", "restoration"), "webdataset or parquet"),
        (("parquet", "as-is", "source", None), "--layout source is for webdataset"),
        ((None, "as-is", "source", "restoration"), "without --pairs"),
    ],
)
def test_what_does_not_go_together_is_refused(names: tuple[Any, ...], reason: str) -> None:
    format_, images, layout, pairs = names
    with pytest.raises(UserError, match=reason):
        chosen(format_, Choice(), images, layout, True, pairs, 10)
