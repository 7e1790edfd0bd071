"""The end of the stream: samples become parts; the driver gets the records of parts as rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from qrefine.errors import UserError
from qrefine.sample import Sample
from qrefine.stream.metrics import RayMeter
from qrefine.table.parts import PartRecord
from qrefine.work.border import from_arrow
from qrefine.work.write import Target, all_failed, write

RECORD = pa.schema([("record", pa.string()), ("broken", pa.string())])  # a part, or the reason for a failure


def write_block(block: pa.Table, target: Target, reason: str | None = None) -> pa.Table:
    """Write a block's samples; with a ``reason`` all samples without an error fail with it.

    Such samples did not pass the pools.
    """
    samples = from_arrow(block)
    if reason is not None:
        samples = all_failed(samples, reason)
    return write_told(samples, target)


def write_told(samples: Sequence[Sample], target: Target) -> pa.Table:
    """Write samples; returns the records of the parts, which are small."""
    return told(lambda: write(samples, target), target)


def told(action: Callable[[], Sequence[PartRecord]], target: Target) -> pa.Table:
    """The records that the action wrote.

    An unavailable store is returned as data: after an exception Ray would go on and samples would be blamed.
    """
    try:
        records = action()
    except UserError as error:
        return pa.Table.from_pylist([{"broken": str(error)}], schema=RECORD)
    meter = RayMeter(target.run)
    for record in records:
        meter.add("written_bytes", record.size)
    return pa.Table.from_pylist([{"record": record.to_json()} for record in records], schema=RECORD)
