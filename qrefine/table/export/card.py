"""The dataset card: a README.md that the hub and ``datasets`` read, with a picture of before and after."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc

from qrefine.config import ImageSettings, RefineConfig
from qrefine.corpus.images import ImageError, decode
from qrefine.quality.map import Image
from qrefine.table.export.content import Content
from qrefine.table.export.output import MANIFEST, Manifest
from qrefine.table.export.scan import scan
from qrefine.table.export.select import Indexes, Selection
from qrefine.table.images import PLACE, SourceError, Sources
from qrefine.table.pieces import Piece
from qrefine.table.table import Table

CARD = "README.md"
PICTURE = ".card/before-after.jpg"  # datasets passes over folders that begin with a dot
SIDE = 256  # pixels of an image in the picture
GAP = 4
SHOWN = 4  # samples
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")


def card(manifest: Manifest, content: Content, format_: str, picture: bool) -> str:
    """The card's text: where the data files are, what they hold, and where they come from."""
    size = _SIZES[min(max(len(str(manifest.samples)) - 3, 0), len(_SIZES) - 1)]
    count = sum(content.statuses.values())
    before, after = (total / count if count else 0.0 for total in content.quality)
    pairs = manifest.options.get("pairs")
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path:",
        *(f'    - "{pattern}"' for pattern in _data_files(manifest, format_)),
        "size_categories:",
        f"- {size}",
        "task_categories:",
        "- image-to-image" if pairs else "- text-to-image",
        "tags:",
        "- qrefine",
        "---",
        "",
        "# Refined images" if not pairs else f"# Pairs of images: {pairs}",
        "",
        f"{manifest.samples:,} samples, {manifest.bytes / 1e6:,.1f} MB, exported by `qrefine` from version"
        f" {manifest.version} of a table. [{MANIFEST}]({MANIFEST}) has the files with their digests.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {status} | {number:,} |" for status, number in content.statuses.items()),
        f"| with a prompt | {content.prompts:,} |",
        f"| mean quality before, after | {before:.3f}, {after:.3f} |",
        *(f"| {suffix} files | {number:,} |" for suffix, number in manifest.images.items()),
        *(f"| {name} | `{_cell(value)}` |" for name, value in manifest.options.items()),
        *(f"| left out: {_cell(reason)} | {number:,} |" for reason, number in manifest.left_out.items()),
        "",
    ]
    if picture:
        lines += ["Refined samples, above as they came and below as they are here:", ""]
        lines += [f"![Before and after]({PICTURE})", ""]
    return "\n".join(lines)


def _data_files(manifest: Manifest, format_: str) -> list[str]:
    """Patterns of the files that ``datasets`` shall read: without the texts beside the images of a folder."""
    if format_ == "imagefolder":
        return ["*/metadata.jsonl", *(f"*/*.{suffix}" for suffix in manifest.images)]
    return sorted({f"**/*.{'parquet' if format_ == 'parquet' else _ending(file.name)}" for file in manifest.files})


def _ending(name: str) -> str:
    """The suffix of a shard with that of its compression."""
    return name[name.lower().rindex(".t") + 1 :]


def _cell(value: object) -> str:
    """Text that stays inside a table's cell, whatever it holds."""
    return " ".join(str(value).replace("`", "'").replace("|", "/").split())


def most_improved(table: Table, pieces: Sequence[Piece], shard: str, indexes: Indexes) -> Selection:
    """Those refined rows of a shard whose quality rose most, of the rows with these indexes."""
    columns = ["shard", "index", "status", "quality_before", "quality_after"]
    wanted = (
        (pc.field("shard") == shard)
        & (pc.field("status") == "refined")
        & pc.field("index").isin(pa.array(indexes))
    )
    paths = sorted({piece.path for piece in pieces if piece.shard == shard})
    rows = pa.concat_tables(
        group for part in scan(table, paths, columns, lambda rows: rows.filter(wanted)) for group in part
    )
    gains = pc.subtract(rows["quality_after"], rows["quality_before"])
    ordered = rows.append_column("gain", gains).sort_by([("gain", "descending"), ("index", "ascending")])
    return Selection({shard: np.sort(ordered["index"].to_numpy()[:SHOWN])}, rows.num_rows)


def picture_of(rows: Iterable[pa.Table], config: RefineConfig) -> bytes | None:
    """A JPEG of rows of one shard, each with its source above; None where no source can be read."""
    fetch = Sources(config)
    pairs: list[tuple[bytes, bytes]] = []
    for row in rows:
        (values,) = row.select([*PLACE, "image"]).to_pylist()
        with contextlib.suppress(SourceError):
            pairs.append((fetch(values), values["image"]["bytes"]))
    try:
        return _sheet(pairs, config.images) if pairs else None
    except ImageError:
        return None


def _sheet(pairs: Sequence[tuple[bytes, bytes]], settings: ImageSettings) -> bytes:
    """Each pair as a column, before above after; at most SIDE pixels for each image."""
    columns = [[_small(decode(image, settings)) for image in pair] for pair in pairs]
    side = max(max(image.size) for column in columns for image in column) + GAP
    sheet = PIL.Image.new("RGB", (len(columns) * side - GAP, 2 * side - GAP), "white")
    for number, column in enumerate(columns):
        for row, image in enumerate(column):
            left, top = number * side, row * side
            sheet.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=90)
    return out.getvalue()


def _small(pixels: Image) -> PIL.Image.Image:
    image = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((SIDE, SIDE))
    return image
