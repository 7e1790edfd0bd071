"""What an image folder's ``metadata.jsonl`` or ``metadata.csv`` says of each file, by Hugging Face's convention.

Each line names a file, relative to the folder that the metadata lies in, as ``file_name``; all its values become
the sample's JSON metadata. A line that cannot be read is logged and skipped.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from qrefine.storage.reader import READ_BYTES, ResumingReader

log = logging.getLogger(__name__)

NAMES = ("metadata.csv", "metadata.jsonl")  # where both lie in a folder the last one counts
NAME_FIELD = "file_name"
LINE_BYTES = 1 << 20  # a longer line is skipped
MOST_WARNINGS = 8  # for one file


def read_metadata(source: ResumingReader, name: str) -> Iterator[tuple[str, str]]:
    """Yields file names below the metadata's own root, ``/`` between folders, and JSON text.

    ``name`` is the metadata file's path below that root. Raises what the store raises.
    """
    folder = PurePosixPath(name).parent
    rows = _csv_rows if name.endswith(".csv") else _json_rows
    broken = 0
    for number, values in rows(source):
        file_name = None
        if isinstance(values, str):
            reason = values
        else:
            file_name = _below(folder, values.get(NAME_FIELD))
            reason = f"it has no {NAME_FIELD} below this folder"
        if file_name is not None:
            yield file_name, json.dumps(values, ensure_ascii=False)
            continue
        broken += 1
        if broken <= MOST_WARNINGS:
            log.warning("%s, line %d is skipped: %s", name, number, reason)
    if broken > MOST_WARNINGS:
        log.warning("%s: %d lines were skipped in all", name, broken)


def _below(folder: PurePosixPath, name: Any) -> str | None:
    """The path of a file that a line names; None where it would lie outside of the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        return None
    return str(folder / path)


def _json_rows(source: ResumingReader) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in _lines(source):
        if line is None:
            yield number, f"it is longer than {LINE_BYTES} bytes"
            continue
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8"))
            json.dumps(values, ensure_ascii=False).encode()  # JSON may escape half a surrogate pair
        except (ValueError, RecursionError) as error:
            yield number, f"it is not JSON ({str(error)[:80]})"
            continue
        yield number, values if isinstance(values, dict) else "it is not a JSON object"


def _csv_rows(source: ResumingReader) -> Iterator[tuple[int, dict[str, Any] | str]]:
    reader = csv.reader(
        line.decode("utf-8", "replace") if line is not None else "\n" for _, line in _lines(source, ends=True)
    )
    header: list[str] | None = None
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, str(error)
            continue
        if header is None:
            header = values
        elif len(values) == len(header):
            yield reader.line_num, dict(zip(header, values, strict=True))
        elif values:
            yield reader.line_num, f"it has {len(values)} fields, and the first line {len(header)}"


def _lines(source: ResumingReader, *, ends: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, None for one that is too long; memory holds one line and one read."""
    number, rest, dropping = 1, b"", False
    first = True
    while piece := source.read(READ_BYTES):
        if first:
            piece, first = piece.removeprefix(b"\xef\xbb\xbf"), False
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield number, None if dropping or len(line) > LINE_BYTES else line + b"\n" * ends
            number, dropping = number + 1, False
        if len(rest) > LINE_BYTES:
            rest, dropping = b"", True
    if rest or dropping:
        yield number, None if dropping else rest
