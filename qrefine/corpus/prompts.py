"""The prompt of a sample, and which of its members it came from."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from qrefine.corpus.generators import image_prompt

TEXTS = ("txt", "caption.txt", "caption", "prompt")  # suffixes of text files; the first that is not empty is taken
FIELDS = ("prompt", "caption", "text", "captions")  # of the JSON, in this order
MOST_NESTED = 8  # lists and objects around a prompt in the JSON

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRST = {mark[:1] for mark, _ in _BOMS}


class Prompt(NamedTuple):
    """A prompt and where it was found: a suffix, ``json:FIELD``, or what wrote it into the image (`generators`).

    Without a text, the source says why one that was expected cannot be read.
    """

    text: str | None = None
    source: str | None = None


def find_prompt(
    texts: Mapping[str, bytes], metadata: str | None, image: bytes | None, field: str | None = None
) -> Prompt:
    """The first prompt that is not empty: in ``field`` of the JSON, in a text file, in the JSON, in the image.

    ``texts`` are text files by suffix (TEXTS), ``metadata`` is JSON, ``image`` an encoded image, of which only the
    headers are read, and only where nothing else has a prompt. Never raises.
    """
    empty = None
    for prompt in _beside(texts, metadata, field):
        if prompt.text and not prompt.text.isspace():
            return prompt
        empty = empty or prompt
    inside = Prompt() if image is None else Prompt(*image_prompt(image))
    return empty if empty is not None and inside.text is None else inside


def decode_text(data: bytes) -> str:
    """The text of a file, without its byte order mark: UTF-8, UTF-16 or UTF-32, as the mark or the zeros show."""
    for mark, name in _BOMS if data[:1] in _FIRST else ():
        if data.startswith(mark):
            return _replaced(data[len(mark) :].decode(name, "replace"))
    if (
        b"\0" in data and len(data) >= 4 and len(data) % 2 == 0
    ):  # Latin text in UTF-16 has a zero in each pair of bytes
        for name, zeros, others in (("utf-16-le", data[1::2], data[::2]), ("utf-16-be", data[::2], data[1::2])):
            if not zeros.strip(b"\0") and b"\0" not in others:
                return _replaced(data.decode(name, "replace"))
    return data.decode("utf-8", "replace")


def _beside(texts: Mapping[str, bytes], metadata: str | None, field: str | None) -> Iterator[Prompt]:
    if field is not None:
        yield from _of_json(_looked_up(_json(metadata), field), field)
    for suffix in TEXTS:
        if suffix in texts:
            yield Prompt(decode_text(texts[suffix]), suffix)
    if isinstance(values := _json(metadata), dict):
        for name in FIELDS:
            yield from _of_json(values.get(name), name)


def _json(metadata: str | None) -> Any:
    try:
        return None if metadata is None else json.loads(metadata)
    except (ValueError, RecursionError):
        return None  # the JSON goes into the table as it came


def _of_json(value: Any, name: str) -> Iterator[Prompt]:
    text = _first_text(value)
    if text is not None:
        yield Prompt(_replaced(text), f"json:{name}")


def _first_text(value: Any) -> str | None:
    """A string; of a list the first, of an object the first of FIELDS."""
    for _ in range(MOST_NESTED):
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value:
            value = value[0]
        elif isinstance(value, dict):
            value = next((value[name] for name in FIELDS if name in value), None)
        else:
            return None
    return None


def _looked_up(values: Any, path: str) -> Any:
    """The value under this name, or under the names and list places between its dots."""
    if isinstance(values, dict) and path in values:
        return values[path]
    for name in path.split("."):
        if isinstance(values, dict):
            values = values.get(name)
        elif isinstance(values, list) and name.isdecimal() and int(name) < len(values):
            values = values[int(name)]
        else:
            return None
    return values


def _replaced(text: str) -> str:
    """Without halves of surrogate pairs, which JSON and UTF-16 may hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
