"""A table's images as a training set: what is asked for, checked and chosen; then lanes of shards, side by side.

Rows are sorted by shard and index, so the same version of a table gives the same bytes, whatever the number of
threads. Failed rows have no image and are left out. Memory holds a few samples of each lane, and
what `select` says.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from qrefine.config import RefineConfig
from qrefine.corpus.formats import SIGNATURE_BYTES
from qrefine.errors import UserError
from qrefine.storage.ahead import ahead
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store
from qrefine.table.beside import Beside
from qrefine.table.export.card import CARD, PICTURE, card, most_improved, picture_of
from qrefine.table.export.content import Content, describe
from qrefine.table.export.images import common_format
from qrefine.table.export.layouts import Write, layout
from qrefine.table.export.names import output_names
from qrefine.table.export.output import MANIFEST, Counts, File, Manifest, Output, digest
from qrefine.table.export.request import Request
from qrefine.table.export.rows import Lane, Reader, lanes
from qrefine.table.export.samples import Job
from qrefine.table.export.select import Selection, select
from qrefine.table.export.sources import Sources
from qrefine.table.images import PLACE, SourceError, image_bytes
from qrefine.table.images import Sources as Fetch
from qrefine.table.pieces import Piece
from qrefine.table.table import Table

THREADS = 8
LOOKED_AT = 32  # shards, and eight images of each, when the format of all is chosen


def export(
    table: Table,
    output: Store,
    request: Request | None = None,
    config: RefineConfig | None = None,
    *,
    notify: Callable[[int], None] = lambda samples: None,
    each: Each | None = None,
) -> Manifest:
    """Write what is asked for into an empty folder; raises UserError, for what can be known before it is written.

    ``config`` has the options of the source shards' store, and quality and compression of images that are encoded.
    ``notify`` is called with the number of samples so far. ``each`` does the lanes, such as an executor's; without
    it threads of this process do. The files are the same either way: a lane knows their names, so one that is done
    again writes them again.
    """
    request, config = request or Request(), config or RefineConfig()
    request.check()
    pieces = table.pieces()
    selection = select(table, pieces, request.choice, refined=request.pairs is not None)
    if not selection.total:
        raise UserError(_nothing(table, selection, request))
    beside = Beside(table.store)
    content = describe(table, pieces, selection, config.images.suffix, beside)
    counts = Counts()
    sources = _sources(table, pieces, selection, content, request, config)
    usable = _usable(selection, sources, counts, request)
    reader = Reader(table, pieces, usable, beside)
    job = Job(
        reader=reader,
        sources=sources,
        pairs=request.pairs is not None,
        content=content,
        config=config,
        out=Output(output),
        samples=request.samples,
        suffix=_suffix(reader, usable, request, config),
        tars=output_names(list(usable.rows)) if request.source_layout else {},
    )
    try:
        files = _written(job, usable, request, counts, notify, each or _threads)
        manifest = _manifest(table, selection, job, request, counts, files)
        _finish(job, table, pieces, usable, request, config, manifest)
    except OSError as error:
        raise storage_error(output.url, error) from error
    return manifest


def _nothing(table: Table, selection: Selection, request: Request) -> str:
    what = "refined row" if request.pairs else "row that did not fail"
    if not selection.candidates:
        return f"nothing to export: {table.root} has no {what}"
    if request.choice.where is None:
        return f"nothing to export: no row of {table.root} has a number in {request.choice.by}"
    return f"nothing to export: of {selection.candidates} rows, --where {request.choice.where!r} selects none"


def _sources(
    table: Table,
    pieces: Sequence[Piece],
    selection: Selection,
    content: Content,
    request: Request,
    config: RefineConfig,
) -> Sources | None:
    """The source shards, where something of them is needed."""
    needed = request.pairs or (request.members and (request.source_layout or content.members))
    if not needed or (request.format != "webdataset" and not request.pairs):
        return None
    if request.source_layout and content.unknown:
        raise UserError(
            f"--layout source needs the column members; {content.unknown} rows of {table.root} are older:"
            " --no-members writes image, prompt and json; nightly --stale makes the rows anew"
        )
    return Sources.of(table, pieces, selection.rows, config)


def _usable(selection: Selection, sources: Sources | None, counts: Counts, request: Request) -> Selection:
    """The selection without shards whose source is needed and lost; raises UserError where nothing is left."""
    if sources is None or not sources.lost:
        return selection
    usable = {shard: rows for shard, rows in selection.rows.items() if shard not in sources.lost}
    for shard, reason in sources.lost.items():
        counts.left_out[f"{reason}: {shard}"] += len(selection.rows[shard])
    if not usable:
        shard, reason = next(iter(sources.lost.items()))
        remedy = "" if request.pairs else "; --no-members exports what the table holds"
        raise UserError(f"no source shard can be read ({reason}: {shard}){remedy}")
    return Selection(usable, selection.candidates)


def _suffix(reader: Reader, selection: Selection, request: Request, config: RefineConfig) -> str | None:
    """The suffix of all images, None where each stays as it is."""
    if request.images != "as-is" or request.source_layout or request.format != "webdataset" or request.pairs:
        return None if request.images == "as-is" else request.images
    shards = list(selection.rows)[:: -(-len(selection.rows) // LOOKED_AT)]
    fetch = Fetch(config)
    images = []
    for shard in shards:
        for row in islice(reader.rows(shard), 8):
            with contextlib.suppress(SourceError):
                images.append(
                    image_bytes(row.select([*PLACE, "image"]).to_pylist()[0], sources=fetch)[:SIGNATURE_BYTES]
                )
    return common_format(images)


def _written(
    job: Job,
    selection: Selection,
    request: Request,
    counts: Counts,
    notify: Callable[[int], None],
    each: Each,
) -> tuple[File, ...]:
    """The files in order. Counts are added in the order of the lanes too, whatever the order they are done in."""
    write = layout(request.format, request.source_layout, request.pairs)
    todo = (Part(n, job.of(lane.shards), lane) for n, lane in enumerate(lanes(selection, request.samples)))
    done: dict[int, tuple[list[File], Counts]] = {}
    samples = 0
    for some in each(partial(_part, write), todo):
        for number, files, found in some:
            done[number] = files, found
            samples += sum(file.samples for file in files)
        notify(samples)
    for number in sorted(done):
        counts.add(done[number][1])
    return tuple(file for number in sorted(done) for file in done[number][0])


class Part(NamedTuple):
    """A lane with its number and its share of the job."""

    number: int
    job: Job
    lane: Lane


Done = tuple[int, list[File], Counts]
Each = Callable[[Callable[[Part], Done], Iterable[Part]], Iterator[list[Done]]]
"""Calls a function on every part, in any order, and yields some results at a time."""


def _part(write: Write, part: Part) -> Done:
    return part.number, *write(part.job, part.lane)


def _threads(call: Callable[[Part], Done], parts: Iterable[Part]) -> Iterator[list[Done]]:
    threads = min(THREADS, 2 * (os.cpu_count() or 1))
    return ([done] for done in ahead(call, parts, threads, 2 * threads))


def _manifest(
    table: Table, selection: Selection, job: Job, request: Request, counts: Counts, files: tuple[File, ...]
) -> Manifest:
    return Manifest(
        table=table.root,
        version=table.version,
        options=request.told(),
        candidates=selection.candidates,
        selected=selection.total,
        samples=sum(file.samples for file in files),
        bytes=sum(file.bytes for file in files),
        images=dict(sorted(counts.images.items())),
        converted=dict(sorted(counts.converted.items())),
        renamed=counts.renamed,
        left_out=dict(sorted(counts.left_out.items())),
        notes=tuple(_notes(job, request, counts)),
        files=files,
        sha256=digest(files),
    )


def _notes(job: Job, request: Request, counts: Counts) -> list[str]:
    """What a person should know of how the export differs from the table and from its source."""
    notes = []
    plain = not request.source_layout and not request.pairs
    if request.images == "as-is" and counts.converted and plain:
        notes.append(f"the images are of several formats: all became {job.suffix}; --images names another")
    if counts.renamed:
        notes.append(f"{counts.renamed} names were taken in their file, or loaders would misread them: changed")
    if len(counts.members) > 1:
        notes.append(
            f"as in the source, samples differ in their members ({_listed(counts.members)}): loaders that want the"
            " same of each read --layout samples"
        )
    if plain and request.format == "webdataset" and job.sources and job.content.some:
        notes.append(
            f"members that only some samples have stayed out ({_listed(job.content.some)});"
            " --layout source brings all back"
        )
    if request.format != "parquet" and not request.source_layout:
        if job.content.gaps:
            notes.append(f"columns that are null in some rows stayed out: {', '.join(job.content.gaps)}")
        if not job.content.whole:
            notes.append("the samples' own json differs from one to another: all of it is in metadata, as text")
    return notes


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in Counter(counts).most_common(8))


def _finish(
    job: Job,
    table: Table,
    pieces: Sequence[Piece],
    selection: Selection,
    request: Request,
    config: RefineConfig,
    manifest: Manifest,
) -> None:
    """The card with its picture, and last the manifest."""
    refined = {shard: job.content.refined[shard] for shard in selection.rows if job.content.refined[shard]}
    shard = min(refined, key=lambda shard: (-refined[shard], shard), default=None)
    picture = None
    if shard is not None:
        best = most_improved(table, pieces, shard, selection.rows[shard])
        sources = job.sources or Sources.of(table, pieces, [shard], config)
        picture = picture_of(Reader(table, pieces, best).rows(shard), sources.configs[shard])
    if picture is not None:
        job.out.folder_of(PICTURE)
        job.out.put(PICTURE, picture)
    text = card(manifest, job.content, request.format, picture is not None)
    job.out.put(CARD, text.encode())
    job.out.put(MANIFEST, manifest.to_json().encode())
