"""From a row to what is written of it, for each layout. What cannot be written is None, and counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from qrefine.config import ImageSettings, RefineConfig
from qrefine.corpus.images import ImageError
from qrefine.table.export.content import Content
from qrefine.table.export.files import Members, Picture
from qrefine.table.export.images import can_write, converted, plain, suffix_of
from qrefine.table.export.members import opened
from qrefine.table.export.names import member_name
from qrefine.table.export.output import Counts, Output
from qrefine.table.export.pairs import Pair, preference_row, restoration_members, restoration_row
from qrefine.table.export.rows import Reader
from qrefine.table.export.sources import MISSING, Sources, is_source
from qrefine.table.images import SourceError, with_images
from qrefine.table.images import Sources as Fetch

NO_IMAGE = "image is not in the table"
UNDECODED = "image cannot be decoded"
MAPS = frozenset({"quality_map_before", "quality_map_after"})  # only Parquet holds them
FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Row(NamedTuple):
    """A row, as a table of one row and as its values without the maps; and what was read of its source."""

    table: pa.Table
    values: dict[str, Any]
    before: bytes | None = None  # its source image, for pairs
    members: Sequence[tuple[str, bytes]] = ()  # the members of its source sample, by name
    place: int | None = None  # of the source image among them

    @property
    def image(self) -> bytes | None:
        """The bytes of its image; None where the table does not hold them."""
        image = self.values["image"]
        return None if image is None else image["bytes"]

    @property
    def prompt(self) -> str:
        """A missing prompt is an empty one: loaders have no name for a sample without."""
        return self.values["prompt"] or ""


@dataclass(frozen=True)
class Job:
    """What all lanes of an export share."""

    reader: Reader
    sources: Sources | None  # None where nothing of them is needed
    pairs: bool  # of the sources their images are needed, else their members
    content: Content
    config: RefineConfig
    out: Output
    samples: int  # in a file
    suffix: str | None  # of all images; None: each as it is
    tars: dict[str, str]  # by shard: its own file, in the source's layout

    def of(self, shards: Sequence[str]) -> Job:
        """The same for some shards alone: what another process needs for its share."""
        return replace(
            self,
            reader=self.reader.of(shards),
            sources=self.sources and self.sources.only(shards),
            content=replace(self.content, refined=Counter()),
            tars={shard: self.tars[shard] for shard in shards if shard in self.tars},
        )

    def rows(self, shard: str, counts: Counts) -> Iterator[Row]:
        """The selected rows of a shard, each with its image, and with what is needed of its source."""

        def lost(error: SourceError) -> None:
            counts.left_out[f"{error.reason}: {shard}"] += 1

        tables = with_images(self.reader.rows(shard), Fetch(self.config), lost)
        rows = (
            Row(table, table.select([name for name in table.column_names if name not in MAPS]).to_pylist()[0])
            for table in tables
        )
        if self.pairs:
            return self._with_sources(shard, rows, lost)
        if self.sources is not None and self.sources.has_members(shard):
            return self._with_members(shard, rows, counts)
        return rows

    def _with_sources(self, shard: str, rows: Iterator[Row], lost: Callable[[SourceError], None]) -> Iterator[Row]:
        assert self.sources is not None
        fetch = Fetch(self.sources.configs[shard])
        for row in rows:
            try:
                yield row._replace(before=fetch(row.values))
            except SourceError as error:
                lost(error)

    def _with_members(self, shard: str, rows: Iterator[Row], counts: Counts) -> Iterator[Row]:
        assert self.sources is not None
        names, indexes = self.reader.names(shard), self.reader.indexes(shard)
        with opened(self.sources.units[shard], names, indexes.tolist(), self.sources.configs[shard]) as members:
            for row in rows:
                found = members.of(row.values["index"])
                place = next((n for n, (_, data) in enumerate(found) if is_source(data, row.values)), None)
                if place is None:
                    counts.left_out[f"{MISSING}: {shard}"] += 1
                else:
                    yield row._replace(members=found, place=place)

    @property
    def settings(self) -> ImageSettings:
        return self.config.images

    def image(self, row: Row, counts: Counts, suffix: str | None) -> bytes | None:
        """The row's image in the format of this suffix; None, and counted, where there is none."""
        image = row.image
        if image is None:
            counts.left_out[NO_IMAGE] += 1
            return None
        try:
            found = image if suffix is None else converted(image, suffix, self.settings)
        except ImageError:
            counts.left_out[UNDECODED] += 1
            return None
        counts.images[suffix_of(found)] += 1
        if found is not image:
            counts.converted[f"{suffix_of(image)} to {plain(suffix or '')}"] += 1
        return found

    def pair(self, row: Row, counts: Counts) -> Pair | None:
        image = row.image
        if image is None or row.before is None:
            counts.left_out[NO_IMAGE] += 1
            return None
        try:
            pair = Pair(row.before, image, self.settings)
            counts.images[self.suffix or "png"] += 2
            return pair
        except ValueError as error:  # ImageError too
            counts.left_out[UNDECODED if isinstance(error, ImageError) else str(error)] += 1
            return None

    @cached_property
    def told_schema(self) -> list[tuple[str, pa.DataType]]:
        """The columns of `Content.told`, with their types."""
        fields = (self.reader.schema.field(name) for name in self.content.columns)
        return [(field.name, pa.string() if pa.types.is_list(field.type) else field.type) for field in fields]


Make = Callable[[Job, Row, Counts], Any]


def members(job: Job, row: Row, counts: Counts) -> Members | None:
    """The members of a sample in a WebDataset shard, by suffix: image, text, json, and others that all have."""
    suffix = job.suffix or "png"
    image = job.image(row, counts, suffix)
    if image is None:
        return None
    texts = [("txt", row.prompt.encode()), ("json", json.dumps(job.content.sidecar(row.values)).encode())]
    base = row.values["key"].rpartition("/")[2]
    others = {name.rpartition("/")[2][len(base) + 1 :].lower(): data for name, data in row.members}
    wanted = [name for name in job.content.members if name != suffix] if job.sources else []
    if any(name not in others for name in wanted):
        counts.left_out[f"{MISSING}: {row.values['shard']}"] += 1
        return None
    return [(suffix, image), *texts, *((name, others[name]) for name in wanted)]


def picture(job: Job, row: Row, counts: Counts) -> Picture | None:
    """An image of a folder; its key is given later."""
    image = job.image(row, counts, job.suffix)
    if image is None:
        return None
    told = {**job.content.told(row.values), **job.content.own_text(row.values)}
    return Picture("", suffix_of(image), image, row.prompt, told)


def table_row(job: Job, row: Row, counts: Counts) -> pa.Table | None:
    """The row as it is, but for the image's format and a missing prompt."""
    image = job.image(row, counts, job.suffix)
    if image is None:
        return None
    table = row.table
    if image is not row.image:
        value = {"bytes": image, "path": None}
        place = table.column_names.index("image")
        table = table.set_column(place, "image", pa.array([value], table.schema.field("image").type))
    place = table.column_names.index("prompt")
    return table.set_column(place, table.schema.field("prompt"), pc.fill_null(table["prompt"], ""))


def source_members(job: Job, row: Row, counts: Counts) -> Members | None:
    """All members of the source's sample under their own names, with the refined image in place of its own.

    Without them: the image, the prompt and the json that the table holds.
    """
    if row.place is None:
        return _table_members(job, row, counts)
    found = [(member_name(name), data) for name, data in row.members]
    name, source = row.members[row.place]
    if row.values["status"] != "refined" and job.suffix is None:
        counts.images[suffix_of(source)] += 1
        return found
    stem, dot, last = name.rpartition(".")
    kept = can_write(last) and job.suffix in (None, plain(last))
    suffix = last if kept else job.suffix or "png"
    image = job.image(row, counts, suffix)
    if image is None:
        return None
    if not kept:
        counts.renamed += 1
        name = f"{stem if dot else name}.{suffix}"
    found[row.place] = (member_name(name), image)
    return found


def _table_members(job: Job, row: Row, counts: Counts) -> Members | None:
    image = job.image(row, counts, job.suffix)
    if image is None:
        return None
    key = member_name(row.values["key"] or f"{row.values['index']:09d}")
    texts = [("txt", row.values["prompt"]), ("json", row.values["metadata"])]
    return [
        (f"{key}.{suffix_of(image)}", image),
        *((f"{key}.{suffix}", text.encode()) for suffix, text in texts if text is not None),
    ]


def restoration(job: Job, row: Row, counts: Counts) -> Members | None:
    """The members of a restoration pair, by suffix."""
    pair = job.pair(row, counts)
    if pair is None:
        return None
    suffix = job.suffix or "png"
    sidecar = json.dumps(job.content.sidecar(row.values)).encode()
    files = pair.files(suffix, job.settings)
    return [*restoration_members(files, suffix), ("txt", row.prompt.encode()), ("json", sidecar)]


def restoration_table(job: Job, row: Row, counts: Counts) -> pa.Table | None:
    pair = job.pair(row, counts)
    if pair is None:
        return None
    files = pair.files(job.suffix or "png", job.settings)
    columns = [*((name, FILE) for name in files), ("prompt", pa.string()), *job.told_schema]
    found = restoration_row(files, job.content.told(row.values), row.prompt)
    return pa.Table.from_pylist([found], schema=pa.schema(columns))


def preference_table(job: Job, row: Row, counts: Counts) -> pa.Table | None:
    pair = job.pair(row, counts)
    if pair is None:
        return None
    before, after = pair.encoded(job.suffix or "png", job.settings)
    columns = [
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
    ]
    found = preference_row(after, before, job.content.told(row.values), row.prompt)
    schema = pa.schema([*columns, ("caption", pa.string()), *job.told_schema])
    return pa.Table.from_pylist([found], schema=schema)
