"""The fields that all of many json objects have, with one type each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import reduce
from typing import Any

INT64 = 2**63

Shape = Any
"""Of a json value: "bool", "int", "float", "str", a list of one shape, a dict of shapes; None where none fits."""


class Common:
    """What the objects that were added have in common."""

    def __init__(self) -> None:
        self.fields: dict[str, Shape] | None = None  # None before the first
        self.whole = True  # the fields are all that any object has

    def add(self, text: str | None) -> None:
        """Add an object by its text; no text is an object without fields."""
        if self.fields == {} and not self.whole:
            return
        found = parsed(text)
        shapes = {name: shape_of(value) for name, value in fields_of(found).items()}
        known = {name: shape for name, shape in shapes.items() if shape is not None}
        self._meet(known, len(known) == len(shapes) and isinstance(found, dict))

    def join(self, other: Common) -> None:
        """Add all objects that another one has seen."""
        if other.fields is not None:
            self._meet(other.fields, other.whole)

    def _meet(self, fields: dict[str, Shape], whole: bool) -> None:
        mine = fields if self.fields is None else self.fields
        both = {name: unified(mine[name], fields[name]) for name in mine if name in fields}
        self.fields = {name: shape for name, shape in both.items() if shape is not None}
        self.whole &= whole and len(self.fields) == len(mine) == len(fields)


def parsed(text: str | None) -> Any:
    """The value behind a json text; an empty object for no text, None for one that is no json."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None


def fields_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def shape_of(value: Any) -> Shape:
    """The shape of a json value; None for what Arrow has no type for: null, an empty list, a mixed one."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int" if -INT64 <= value < INT64 else None
        case float():
            return "float" if math.isfinite(value) else None
        case str():
            return "str" if value.isascii() or _is_unicode(value) else None
        case list():
            one = reduce(unified, map(shape_of, value)) if value else None
            return None if one is None else [one]
        case dict():
            shapes = {name: shape_of(inner) for name, inner in value.items()}
            return shapes if shapes and None not in shapes.values() else None
    return None


def unified(a: Shape, b: Shape) -> Shape:
    """The shape that values of both have; None where there is none."""
    if a == b:
        return a
    if isinstance(a, str) and isinstance(b, str):
        return "float" if {a, b} == {"int", "float"} else None
    if isinstance(a, list) and isinstance(b, list):
        one = unified(a[0], b[0])
        return None if one is None else [one]
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        shapes = {name: unified(a[name], b[name]) for name in a}
        return None if None in shapes.values() else shapes
    return None


def fitted(value: Any, shape: Shape) -> Any:
    """A value in the shape that it shares with others: whole numbers among others become floats."""
    if isinstance(shape, list):
        return [fitted(inner, shape[0]) for inner in value]
    if isinstance(shape, Mapping):
        return {name: fitted(value[name], inner) for name, inner in shape.items()}
    return float(value) if shape == "float" else value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
