"""A group of settings: frozen, without unknown names; and what is wrong with data for one, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import annotated_types
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

MOST_SHOWN = 100  # characters of a wrong value in an error


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    unknown: ClassVar[str] = "setting (qrefine config --show lists all)"  # what an error calls an unknown name


def explained(error: ValidationError, settings: type[Settings]) -> str:
    """What is wrong with data for ``settings``, in one line: each name, what it was given, and what is allowed."""
    return "; ".join(_explained(problem, settings) for problem in error.errors())


def _explained(problem: Any, settings: type[Settings]) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown {settings.unknown}"
    reason = f"{path}: {problem['msg'].removeprefix('Value error, ')}"
    if problem["loc"][:1] == ("storage_options",):
        return reason  # what was given there may be a secret
    value, allowed = repr(problem["input"]), _allowed(problem["loc"], settings)
    shown = value if len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]}..."
    return f"{reason}, got {shown}" + (f" (allowed: {allowed})" if allowed else "")


def _allowed(loc: Sequence[Any], settings: type[Settings]) -> str:
    """The allowed range of the setting at ``loc``, such as ``>= 0 and <= 1``; empty if it has no range."""
    group: type[Settings] | None = settings
    field = None
    for name in loc:
        if isinstance(name, int):  # a list index: the class of its items was found with the list
            continue
        field = group.model_fields.get(name) if group else None
        group = _group(field.annotation) if field else None
    return allowed_range(field) if field else ""


def allowed_range(field: FieldInfo) -> str:
    """The range of a numeric setting, such as ``>= 0 and <= 1``; empty if it has no range."""
    signs = {
        annotated_types.Ge: ">=",
        annotated_types.Gt: ">",
        annotated_types.Le: "<=",
        annotated_types.Lt: "<",
    }
    limits = [
        f"{sign} {getattr(limit, kind.__name__.lower())}"
        for limit in field.metadata
        for kind, sign in signs.items()
        if isinstance(limit, kind)
    ]
    return " and ".join(limits)


def _group(annotation: Any) -> type[Settings] | None:
    """The settings class in an annotation (alone, optional, or in a tuple), or None."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((group for item in get_args(annotation) if (group := _group(item))), None)
