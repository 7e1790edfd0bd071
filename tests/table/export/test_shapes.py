"""What all json objects share, and that ``datasets`` can take its types from the first of them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrefine.table.export.shapes import Common, fields_of, fitted, parsed


@pytest.mark.parametrize(
    ("texts", "fields", "whole"),
    [
        (['{"a": 1}', '{"a": 2}'], {"a": "int"}, True),
        (['{"a": 1}', '{"a": 2.5}'], {"a": "float"}, True),
        (['{"a": 1, "b": "x"}', '{"a": 2}'], {"a": "int"}, False),
        (['{"a": 1}', '{"a": "x"}'], {}, False),
        (['{"a": null}', '{"a": 1}'], {}, False),
        (['{"a": []}', '{"a": [1]}'], {}, False),
        (['{"a": [1]}', '{"a": [1, 2.5]}'], {"a": ["float"]}, True),
        (['{"a": {"b": 1}}', '{"a": {"b": 2.5}}'], {"a": {"b": "float"}}, True),
        (['{"a": {"b": 1}}', '{"a": {"c": 1}}'], {}, False),
        (['{"a": true}', '{"a": 1}'], {}, False),
        (['{"a": 1}', None], {}, False),
        ([None, None], {}, True),
        (['{"a": 1}', "[1]"], {}, False),
        (["no json", "no json"], {}, False),
        (['{"a": NaN}'], {}, False),
        (['{"a": 99999999999999999999}'], {}, False),
        (['{"a": "\\ud800", "b": "\\u00e4"}'], {"b": "str"}, False),
        (["{" * 100_000], {}, False),
    ],
)
def test_these_fields_are_shared(texts: list[str | None], fields: dict[str, Any], whole: bool) -> None:
    for some in (texts, texts[::-1]):
        common = Common()
        for text in some:
            common.add(text)
        assert (common.fields, common.whole) == (fields, whole)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3).map(json.dumps)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(OBJECTS, st.none()), min_size=1, max_size=6), st.integers(0, 6))
def test_the_types_of_one_hold_all_others(texts: list[str | None], cut: int) -> None:
    parts = [Common(), Common()]
    for number, text in enumerate(texts):
        parts[number >= cut].add(text)
    parts[0].join(parts[1])
    common = parts[0]
    shared = common.fields or {}
    rows = [
        {name: fitted(fields_of(parsed(text))[name], shape) for name, shape in shared.items()} for text in texts
    ]
    if shared:
        schema = pa.Table.from_pylist(rows[:1]).schema
        assert pa.Table.from_pylist(rows).schema == schema
        assert "null" not in str(schema)
    if common.whole:
        for text, row in zip(texts, rows, strict=True):
            assert row == fields_of(parsed(text))
