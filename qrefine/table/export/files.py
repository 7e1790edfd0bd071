"""The files of an export: tars, Parquet files, image folders. Each is written once, from beginning to end."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import IO, Any, NamedTuple, cast

import pyarrow as pa

from qrefine.table.export.output import File, Hashed, Output
from qrefine.table.merge import regrouped
from qrefine.table.parts import row_writer
from qrefine.table.schema import with_features

Members = list[tuple[str, bytes]]
"""The members of one sample, by name."""


class Picture(NamedTuple):
    """An image of an image folder, and what is told of it."""

    key: str
    suffix: str
    image: bytes
    prompt: str
    told: dict[str, Any]


def write_tar(out: Output, name: str, samples: Iterable[Members]) -> File:
    """A tar with these members in this order; compressed where the name says so."""
    count = 0
    with out.open(name) as file:
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(_compressed(file, name))
            tar = stack.enter_context(tarfile.open(fileobj=target, mode="w|"))
            for members in samples:
                count += 1
                for member, data in members:
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return _file(name, count, file)


def write_parquet(out: Output, name: str, rows: Iterable[pa.Table]) -> File:
    """A Parquet file that the hub shows and stores well.

    It has page indexes, so that a viewer fetches single rows; pages are cut by content, so that a new version of
    the file shares most of its bytes with the last; and the schema says that ``image`` holds images.
    """
    count = 0
    groups = regrouped(iter(rows))
    one = next(groups)
    schema = with_features(one.schema)
    with out.open(name) as file:
        target = pa.PythonFile(file, mode="w")
        with row_writer(target, schema, write_page_index=True, use_content_defined_chunking=True) as writer:
            for group in chain([one], groups):
                writer.write_table(group.cast(schema))
                count += group.num_rows
        return _file(name, count, file)


def write_folder(out: Output, name: str, pictures: Iterable[Picture]) -> File:
    """A folder of images, a ``.txt`` with the prompt beside each, and ``metadata.jsonl``."""
    out.folder(name)
    size = count = 0
    with out.open(f"{name}/metadata.jsonl") as file:
        for picture in pictures:
            count += 1
            image_name, prompt = f"{picture.key}.{picture.suffix}", picture.prompt.encode()
            out.put(f"{name}/{image_name}", picture.image)
            out.put(f"{name}/{picture.key}.txt", prompt)
            told = {"file_name": image_name, "text": picture.prompt, **picture.told}
            told["sha256"] = hashlib.sha256(picture.image).hexdigest()
            file.write(json.dumps(told).encode() + b"\n")
            size += len(picture.image) + len(prompt)
        return File(f"{name}/metadata.jsonl", count, size + file.size, file.sha256)


def _compressed(file: Hashed, name: str) -> Any:
    """What compresses as a file's name says; without a date, so that the same samples give the same bytes."""
    match name.lower().rpartition(".")[2]:
        case "gz" | "tgz":
            return gzip.GzipFile("", "wb", 6, cast(IO[bytes], file), mtime=0)
        case "bz2":
            return bz2.BZ2File(cast(IO[bytes], file), "wb")
        case "xz":
            return lzma.LZMAFile(cast(IO[bytes], file), "wb")
    return contextlib.nullcontext(file)


def _file(name: str, samples: int, file: Hashed) -> File:
    return File(name, samples, file.size, file.sha256)


def cut(rows: Iterator[Any], samples: int) -> Iterator[Iterator[Any]]:
    """Cuts rows into runs of ``samples``; each run must be used up before the next is asked for."""
    while (first := next(rows, None)) is not None:
        yield chain([first], islice(rows, samples - 1))
