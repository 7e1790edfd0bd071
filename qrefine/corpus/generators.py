"""Prompts that generators write into their images, by the source that the table names.

- ``a1111`` and its forks: PNG ``parameters``, EXIF UserComment: prompt, "Negative prompt: ...", "Steps: 20, ..."
- ``comfyui``: a graph as JSON (`comfyui`) in PNG ``prompt``, EXIF Model or UserComment; ``civitai``: beside it
- ``swarmui``, ``fooocus``: PNG ``parameters`` as JSON
- ``invokeai``: PNG ``invokeai_metadata`` or ``sd-metadata`` as JSON; ``novelai``: PNG ``Comment`` as JSON
- ``png:prompt``, ``exif:UserComment``, ``png:Description`` (Midjourney), ``xmp:description``: a plain text there
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

from qrefine.corpus.comfyui import GraphError, is_graph, positive_text
from qrefine.corpus.imagetext import COMMENT, MAKE, MODEL, XMP, image_texts

Found = tuple[str | None, str | None]

_NEGATIVE = re.compile(r"^[ \t]*Negative prompt:", re.MULTILINE)
_STEPS = re.compile(r"^[ \t]*Steps: *\d+ *(?:,|$)", re.MULTILINE)
_JOB = re.compile(r"\s*Job ID: [0-9a-f-]{36}\s*$")


def image_prompt(image: bytes) -> Found:
    """The prompt in an encoded image, and what wrote it; (None, reason) where it is there and cannot be read.

    Reads no pixels, and no more text than `imagetext` allows. Never raises.
    """
    texts, reason = image_texts(image)
    for text, source in _candidates(texts):
        if text is None:
            reason = source
        elif text.strip():
            return text.strip(), source
    return None, reason


def positive_part(parameters: str) -> str:
    """The prompt in A1111's text: what stands before the negative prompt and the line of settings."""
    settings = [match.start() for match in _STEPS.finditer(parameters)][-1:]
    negative = _NEGATIVE.search(parameters)
    ends = [*settings, *([negative.start()] if negative else [])]
    return parameters[: min(ends, default=len(parameters))].strip()


def _candidates(texts: dict[str, str]) -> Iterator[Found]:
    """What the texts say, the more certain first; a text of None carries the reason."""
    if "parameters" in texts:
        yield from _parameters(texts["parameters"])
    if "prompt" in texts:
        values = _json(texts["prompt"])
        if isinstance(values, dict):
            yield _graph(values)
        else:
            yield texts["prompt"], "png:prompt"
    for name in ("invokeai_metadata", "sd-metadata"):
        if name in texts:
            yield _text(_json(texts[name]), "positive_prompt", "image") or "", "invokeai"
    if "Comment" in texts:
        yield _text(_json(texts["Comment"]), "prompt") or "", "novelai"
    for name in (COMMENT, MODEL, MAKE):
        if name in texts:
            yield from _exif(texts[name], name)
    if "Description" in texts:
        yield _JOB.sub("", texts["Description"]), "png:Description"
    if XMP in texts:
        yield _description(texts[XMP]), "xmp:description"


def _parameters(text: str) -> Iterator[Found]:
    values = _json(text)
    if isinstance(values, dict):
        swarm = values.get("sui_image_params")
        yield _text(swarm or values, "prompt") or "", "swarmui" if swarm else "fooocus"
    else:
        yield positive_part(text), "a1111"


def _exif(text: str, name: str) -> Iterator[Found]:
    if name != COMMENT:  # ComfyUI's WebP: keyword and colon in front of the JSON
        text = text.removeprefix("prompt:") if text.startswith("prompt:") else ""
    values = _json(text)
    if isinstance(values, dict):
        more = _json(values["extraMetadata"]) if isinstance(values.get("extraMetadata"), str) else None
        yield _text(more, "prompt") or "", "civitai"
        yield _graph(values)
    elif _STEPS.search(text) or _NEGATIVE.search(text):
        yield positive_part(text), "a1111"
    elif name == COMMENT:
        yield text, name


def _graph(values: dict[str, Any]) -> Found:
    inner = values.get("prompt")
    if isinstance(inner, str):
        graph = _json(inner)
        if not isinstance(graph, dict):
            return inner, "json"
        inner = graph
    graph = inner if isinstance(inner, dict) else values
    if not is_graph(graph):
        return "", None
    try:
        return positive_text(graph), "comfyui"
    except GraphError as error:
        return None, f"comfyui: {error}"


def _text(values: Any, *names: str) -> str | None:
    """The string under the first name, going down into objects and first items of lists under the others."""
    for _ in range(4):
        if isinstance(values, list) and values:
            values = values[0]
        elif isinstance(values, dict):
            values = next((values[name] for name in (*names, "prompt") if name in values), None)
    return values if isinstance(values, str) else None


def _description(xmp: str) -> str:
    """The text of dc:description. Searched for, not parsed: XML can be made to fill the memory."""
    start = xmp.find("<dc:description")
    end = xmp.find("</dc:description>", start)
    if start < 0 or end < 0:
        start = xmp.find('dc:description="')
        return "" if start < 0 else html.unescape(xmp[start + 16 : xmp.find('"', start + 16)])
    start = xmp.find("<rdf:li", start, end)
    start = xmp.find(">", start, end) + 1 if start >= 0 else 0
    stop = xmp.find("</rdf:li>", start, end) if start else -1
    return "" if stop < 0 else html.unescape(xmp[start:stop])


def _json(text: str) -> Any:
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        return None
