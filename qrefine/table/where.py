"""Turns an SQL WHERE condition into an Arrow expression over a table's columns.

``sqlglot`` parses the text; only comparisons, arithmetic, AND, OR, NOT, IN, BETWEEN, LIKE and IS NULL on columns
and constants are accepted. No text is evaluated, here or by a database: ``deltalake.QueryBuilder`` is twice as
fast, but finds no ``quality = 0.6`` in float32, and lets a condition hold cross joins and ``LIMIT``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from sqlglot import expressions as sql

from qrefine.errors import UserError

_BINARY: dict[type[sql.Expression], Callable[[Any, Any], Any]] = {
    sql.And: operator.and_,
    sql.Or: operator.or_,
    sql.EQ: operator.eq,
    sql.NEQ: operator.ne,
    sql.GT: operator.gt,
    sql.GTE: operator.ge,
    sql.LT: operator.lt,
    sql.LTE: operator.le,
    sql.Add: operator.add,
    sql.Sub: operator.sub,
    sql.Mul: operator.mul,
    sql.Div: operator.truediv,
}


class Condition(NamedTuple):
    """An expression, and the columns that it reads."""

    expression: pc.Expression
    columns: tuple[str, ...]


def parse_where(text: str, schema: pa.Schema) -> Condition:
    """Selects the rows for which the condition is true; as in SQL, a null makes it not true. Raises UserError."""
    try:
        tree = sqlglot.parse_one(f"SELECT 1 WHERE {text}")
        where = tree.args.get("where")
        if where is None or {name for name, value in tree.args.items() if value} != {"expressions", "where"}:
            raise ValueError("one condition is expected, and nothing behind it")
        found = _expression(where.this, schema)
        schema.empty_table().filter(found)  # raises where types do not match
    except (sqlglot.errors.SqlglotError, pa.ArrowException, ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"--where {text!r}: {reason}") from error
    return Condition(found, tuple(sorted({column.name for column in where.find_all(sql.Column)})))


def _expression(node: sql.Expression, schema: pa.Schema) -> Any:
    def of(inner: sql.Expression) -> Any:
        return _expression(inner, schema)

    if type(node) in _BINARY:
        return _BINARY[type(node)](of(node.this), of(node.expression))
    if isinstance(node, sql.Paren):
        return of(node.this)
    if isinstance(node, sql.Not):
        return ~of(node.this)
    if isinstance(node, sql.Column):
        return _column(node, schema)
    if isinstance(node, (sql.Literal, sql.Boolean)):
        value = node.to_py()
        # compared as float32, as databases do: 0.6 as a double is not equal to the 0.6 of a float32 column
        return pc.scalar(pa.scalar(float(value), pa.float32()) if isinstance(value, Decimal) else value)
    if isinstance(node, sql.Neg):
        return pc.negate(of(node.this))
    if isinstance(node, sql.In) and node.expressions:
        return reduce(operator.or_, (of(node.this) == of(one) for one in node.expressions))
    if isinstance(node, sql.Between):
        return (of(node.this) >= of(node.args["low"])) & (of(node.this) <= of(node.args["high"]))
    if isinstance(node, sql.Is) and isinstance(node.expression, sql.Null):
        return of(node.this).is_null()
    if isinstance(node, (sql.Like, sql.ILike)) and isinstance(node.expression, sql.Literal):
        return pc.match_like(of(node.this), node.expression.this, ignore_case=isinstance(node, sql.ILike))
    raise ValueError(
        f"{node.sql()!r} is not understood (comparisons, arithmetic, AND, OR, NOT, IN, LIKE, IS NULL)"
    )


def _column(node: sql.Column, schema: pa.Schema) -> pc.Expression:
    name = node.name
    if node.table or name not in schema.names:
        simple = [field.name for field in schema if not pa.types.is_nested(field.type)]
        raise ValueError(f"there is no column {node.sql()!r} (there are {', '.join(simple)})")
    return pc.field(name)
