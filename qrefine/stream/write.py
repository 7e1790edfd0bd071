"""The end of the stream: working rows become table rows, rows become parts, and the driver hears of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from qrefine.config import RefineConfig
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.stream.blocks import outcome, raw_sample
from qrefine.stream.metrics import Meter
from qrefine.table.parts import write_part
from qrefine.table.schema import make_row, table_schema

ROWS_AT_ONCE = 8
RECORD = pa.schema([("record", pa.string()), ("broken", pa.string())])  # a part, or why there is none


@dataclass(frozen=True)
class Target:
    """Where rows go, and by which run and configuration."""

    config: RefineConfig
    store: Store
    run: str


def write_batch(batch: pa.Table, target: Target, reason: str | None = None) -> pa.Table:
    """Write one part per shard in the batch; gives the parts' records, which are small.

    A store that stays away is told as data: after an error Ray would go on, and the rows would count as deadly.
    With a ``reason`` all rows fail for it, unless they failed before: they never got through a pool.
    """
    places = batch.select(["shard", "index", "images"]).to_pylist()
    order = sorted(range(len(places)), key=lambda i: (places[i]["shard"], places[i]["index"]))
    source_bytes = pc.fill_null(pc.binary_length(batch["image"]), 0).to_pylist()
    records: list[dict[str, str]] = []
    for _, members in groupby(order, key=lambda i: places[i]["shard"]):
        group = list(members)
        try:
            record = write_part(
                target.store,
                _tables(batch, group, target, reason),
                target.run,
                extra_images=sum(max(0, places[i]["images"] - 1) for i in group),
                source_bytes=sum(source_bytes[i] for i in group),
            )
            Meter(target.run).add("written_bytes", record.size)
            records.append({"record": record.to_json()})
        except UserError as error:
            records.append({"broken": str(error)})
    return pa.Table.from_pylist(records, schema=RECORD)


def _tables(batch: pa.Table, members: Sequence[int], target: Target, reason: str | None) -> Iterator[pa.Table]:
    """The members' table rows, a few at a time: images make a row heavy in Python."""
    config = target.config
    schema = table_schema(config.judges)
    for start in range(0, len(members), ROWS_AT_ONCE):
        rows = batch.take(pa.array(members[start : start + ROWS_AT_ONCE])).to_pylist()
        for row in rows:
            row["error"] = row["error"] or reason
        yield pa.Table.from_pylist(
            [make_row(raw_sample(row), outcome(row, config), config, target.run) for row in rows], schema=schema
        )
