"""Samples as Arrow tables, to pass between processes; the columns are the fields of `Sample`.

A new field of a type listed here needs no further code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import pyarrow as pa

from qrefine.quality.map import Image, QualityMap
from qrefine.sample import Decision, Sample

STAYS = "decoded"  # the field that is not sent: a process that needs pixels decodes them again


class Codec(NamedTuple):
    """Conversion of one type to and from a column; ``get`` takes a valid Arrow scalar."""

    type: pa.DataType
    put: Callable[[Any], Any]
    get: Callable[[Any], Any]


def _plain(kind: pa.DataType) -> Codec:
    return Codec(kind, lambda value: value, lambda scalar: scalar.as_py())


def _array(values: np.ndarray) -> dict[str, Any]:
    return {"shape": values.shape, "data": values.tobytes()}


def _values(scalar: Any, dtype: type[np.generic]) -> np.ndarray:
    values = np.frombuffer(scalar["data"].as_buffer(), dtype=dtype).reshape(scalar["shape"].as_py())
    values.setflags(write=False)
    return values


def _pairs(scalar: Any) -> tuple[tuple[float, float], ...]:
    return tuple((before, after) for before, after in scalar.as_py())


ARRAY = pa.struct([("shape", pa.list_(pa.int32())), ("data", pa.large_binary())])
CODECS: dict[Any, Codec] = {
    str: _plain(pa.string()),
    str | None: _plain(pa.string()),
    Decision | None: _plain(pa.string()),
    int: _plain(pa.int64()),
    int | None: _plain(pa.int64()),
    bytes | None: _plain(pa.large_binary()),
    tuple[int, int] | None: Codec(pa.list_(pa.int32()), lambda value: value, lambda scalar: tuple(scalar.as_py())),
    tuple[str, ...]: Codec(pa.list_(pa.string()), list, lambda scalar: tuple(scalar.as_py())),
    tuple[tuple[float, float], ...]: Codec(pa.list_(pa.list_(pa.float64())), list, _pairs),
    QualityMap | None: Codec(
        ARRAY, lambda value: _array(value.values), lambda scalar: QualityMap(_values(scalar, np.float32))
    ),
    Image | None: Codec(ARRAY, _array, lambda scalar: _values(scalar, np.uint8)),
}
_HINTS = get_type_hints(Sample)
COLUMNS: dict[str, Codec] = {
    field.name: CODECS[_HINTS[field.name]] for field in fields(Sample) if field.name != STAYS
}
SCHEMA = pa.schema([(name, codec.type) for name, codec in COLUMNS.items()])


def to_arrow(samples: Iterable[Sample]) -> pa.Table:
    """A row for each sample, without its decoded pixels."""
    rows = list(samples)
    columns = [
        pa.array([_put(codec, getattr(sample, name)) for sample in rows], codec.type)
        for name, codec in COLUMNS.items()
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def from_arrow(table: pa.Table) -> list[Sample]:
    """The samples of the rows. Pixels are read-only views of the table's memory."""
    values = {
        name: [codec.get(scalar) if scalar.is_valid else None for scalar in table[name]]
        for name, codec in COLUMNS.items()
    }
    return [Sample(**dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]


def blocks(samples: Iterable[Sample], most_bytes: float) -> Iterator[pa.Table]:
    """Samples as tables of about ``most_bytes`` of source data, with at least one sample each."""
    rows: list[Sample] = []
    size = 0
    for sample in samples:
        rows.append(sample)
        size += sum(len(part or "") for part in (sample.source, sample.prompt, sample.metadata))
        if size >= most_bytes:
            yield to_arrow(rows)
            rows, size = [], 0
    if rows:
        yield to_arrow(rows)


def _put(codec: Codec, value: Any) -> Any:
    return None if value is None else codec.put(value)
