"""Which columns of a Parquet file hold the image, the key and the metadata, and a row's values as a sample's.

The image is a struct with ``bytes``, as Hugging Face's ``Image`` feature stores it, or a column of bytes. All
other columns without bytes in them become the sample's JSON metadata, and the prompt is found there as in any
other JSON. A table of ours, and an export of one, has key, prompt and metadata in columns of their own, and they
come back as they were.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import pyarrow as pa

from qrefine.config import InputSettings
from qrefine.corpus.formats import SUFFIXES

IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "picture", "photo")
KEY_NAMES = ("__key__", "key", "id", "image_id", "uid", "file_name", "filename")
OURS = frozenset(
    {"key", "shard", "index", "status", "error", "prompt", "metadata", "source_sha256", "config", "run"}
)
VALUE_CHARS = 256 << 10  # a value whose JSON is longer is left out of the metadata


class ColumnError(ValueError):
    """The file has no image column that can be read; the message names its columns."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns of one file."""

    image: str
    in_struct: bool  # bytes and path lie in a struct
    key: str | None
    others: tuple[str, ...]  # carried along
    read: tuple[str, ...]  # all of these
    ours: bool  # a table that qrefine wrote


def choose_columns(schema: pa.Schema, settings: InputSettings) -> Columns:
    """The columns of a file by type and name, or as the settings name them; raises ColumnError."""
    image = _image_column(schema, settings.image_column)
    ours = set(schema.names) >= OURS
    key = settings.key_column
    if key is not None and key not in schema.names:
        raise ColumnError(f"no column {key!r} (input.key_column); {_listed(schema)}")
    if key is None:
        key = next(
            (name for name in KEY_NAMES if name in schema.names and _is_name(schema.field(name).type)), None
        )
    others = ("prompt", "metadata", "error") if ours else tuple(dict.fromkeys(_carried(schema, image.name)))
    read = tuple(dict.fromkeys([image.name, *([key] if key else []), *others]))
    return Columns(image.name, pa.types.is_struct(image.type), key, others, read, ours)


def _carried(schema: pa.Schema, image: str) -> Iterator[str]:
    return (field.name for field in schema if field.name != image and not _has_bytes(field.type))


def _image_column(schema: pa.Schema, named: str | None) -> pa.Field:
    if named is not None:
        if named not in schema.names:
            raise ColumnError(f"no column {named!r} (input.image_column); {_listed(schema)}")
        field = schema.field(schema.names.index(named))
        if not _holds_image(field.type):
            raise ColumnError(f"the column {named!r} (input.image_column) holds {field.type}, not bytes")
        return field
    candidates = [field for field in schema if _holds_image(field.type)]
    lowered = {field.name.lower(): field for field in reversed(candidates)}
    found = next((lowered[name] for name in IMAGE_NAMES if name in lowered), None)
    if found is None and len(candidates) == 1:
        found = candidates[0]
    if found is None:
        why = "several columns of bytes" if candidates else "no image column"
        raise ColumnError(f"{why}: name one in input.image_column; {_listed(schema)}")
    return found


def _listed(schema: pa.Schema) -> str:
    shown = ", ".join(f"{field.name}: {_short(field.type)}" for field in list(schema)[:20])
    return f"the columns are {shown or 'none'}" + (" ..." if len(schema) > 20 else "")


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holds_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    return _is_bytes(kind)


def _is_name(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in kinds)


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _has_bytes(kind.value_type)
    if _is_bytes(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_has_bytes(kind.field(i).type) for i in range(kind.num_fields))


def named_by(name: str) -> str:
    """A file's name as a key: without the suffix of an image."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and suffix.lower() in SUFFIXES else name


def as_metadata(pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values as JSON text, without values whose own JSON is longer than VALUE_CHARS."""
    return f"{{{', '.join(_members(pairs))}}}"


def _members(pairs: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for name, value in pairs:
        text = json.dumps(plain(value), ensure_ascii=False)
        if len(text) <= VALUE_CHARS:
            yield f"{json.dumps(name, ensure_ascii=False)}: {text}"


def values_of(column: pa.Array) -> list[Any]:
    """The Python values of a column; bytes of texts that are not UTF-8 are replaced."""
    try:
        return list(column.to_pylist())
    except ValueError:  # one of them
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return scalar.as_buffer().to_pybytes().decode("utf-8", "replace") if hasattr(scalar, "as_buffer") else None
    except ValueError:  # nanoseconds that Python's own classes cannot hold
        return str(scalar.value) if hasattr(scalar, "value") else None


def plain(value: Any) -> Any:
    """What JSON can hold of a value: numbers that are not finite and bytes become null, dates ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return None if isinstance(value, (bytes, bytearray)) else str(value)
