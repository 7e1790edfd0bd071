"""Conditions against DuckDB's answer for the same text, and what is refused."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from qrefine.errors import UserError
from qrefine.table.where import parse_where

ROWS = pa.table(
    {
        "id": pa.array(range(8)),
        "key": ["a", "b", "c", "o'clock", "d%", "e", None, "a_b"],
        "index": pa.array([0, 1, 2, 3, -4, 5, 6, 7], pa.int32()),
        "quality_after": pa.array([0.1, 0.6, 0.7, None, 0.9, 0.59, 0.61, 1.0], pa.float32()),
        "quality_before": pa.array([0.1, 0.2, 0.7, 0.3, 0.8, 0.59, 0.1, None], pa.float32()),
        "status": ["kept", "refined", "kept", "failed", "refined", "kept", "refined", "kept"],
        "stages": pa.array([[]] * 8, pa.list_(pa.string())),
    }
)


@pytest.mark.parametrize(
    "text",
    [
        "quality_after >= 0.6 and status != 'failed'",
        "NOT (status = 'kept') OR quality_before < 0.2",
        "status IN ('kept', 'failed') AND \"index\" BETWEEN 2 AND 6",
        "status NOT IN ('kept')",
        "quality_after IS NULL",
        "quality_before IS NOT NULL and quality_after - quality_before > 0.05",
        "key LIKE 'a%' or key = 'o''clock'",
        "key ILIKE 'A_B'",
        '"index" = -4',
        "quality_after * 2 > 1 + 0.3",
        "not quality_after > 0.6",
        "true",
    ],
)
def test_rows_are_those_that_sql_gives(text: str) -> None:
    rows = ROWS
    expected = duckdb.sql(f"SELECT id FROM rows WHERE {text} ORDER BY id").fetchall()
    found = rows.filter(parse_where(text, rows.schema).expression)["id"].to_pylist()
    assert found == [row[0] for row in expected]
    assert len(rows) >= len(found) > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("quality >= 0.6", "there is no column 'quality'"),
        ("status > 3", "string"),
        ("quality_after >=", "--where"),
        ("true; drop table rows", "--where"),
        ("true limit 3", "one condition"),
        ("true union select 1", "one condition"),
        ("true order by id", "one condition"),
        ("read_text('/etc/passwd') = ''", "not understood"),
        ("id in (select 1)", "not understood"),
        ("quality_after", "--where"),
        ("other.id = 1", "there is no column"),
        ("", "--where"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(UserError, match="--where") as caught:
        parse_where(text, ROWS.schema)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
