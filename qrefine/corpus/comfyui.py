"""The text behind the sampler's positive input in a ComfyUI graph.

The graph is the one that ComfyUI runs: nodes by id, each with its class and its inputs. An input is a value, or
a link ``[id of the other node, place of its output]``. Nodes of extensions are known by the names of their inputs.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

MOST_NODES = 10_000
MOST_LINKS = 200  # one after the other: deeper graphs have no text for us

Inputs = dict[str, Any]

_SAMPLES = {"sampler_name", "sampler", "sigmas", "steps", "seed", "noise_seed"}  # a sampler has one of these
_CONDITION = re.compile(r"positive(_\d)?|conditioning\w*|cond\d?|guider|text_embeds")
_TEXT = re.compile(
    r"(text|string|prompt|positive_prompt|populated_text|wildcard_text|value|caption|t5xxl|bert|mt5xl|llama"
    r"|clip_[lg])(_?([a-z]|\d+))?"
)
# inputs of other kinds than texts and conditions
_ELSE = re.compile(
    r"(?i)negative.*|.*model.*|clip|vae|image.*|pixels|mask|control.*|latent.*|samples|sigmas|noise"
)


class GraphError(ValueError):
    """The graph holds no positive text; the message says what is missing."""


def is_graph(values: dict[str, Any]) -> bool:
    return any(isinstance(node, dict) and "class_type" in node for node in values.values())


def positive_text(graph: dict[str, Any]) -> str:
    """The positive prompt of the sampler that is nearest to a saved image; raises GraphError."""
    nodes = {key: node["inputs"] for key, node in graph.items() if _is_node(node)}
    if len(nodes) > MOST_NODES:
        raise GraphError(f"the graph has over {MOST_NODES} nodes")
    saves = [key for key in nodes if "save" in str(graph[key].get("class_type")).lower()]
    samplers = [key for key in _upstream(nodes, [*saves, *nodes]) if _is_sampler(nodes[key])]
    if not samplers:
        raise GraphError("the graph has no sampler")
    blank = {key for key in nodes if "zeroout" in str(graph[key].get("class_type")).lower()}
    for sampler in samplers:
        texts = _texts(nodes, sampler, set(blank), 0)
        if texts:
            return ", ".join(dict.fromkeys(texts))
    raise GraphError("no text is behind the sampler's positive input")


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("inputs"), dict)


def _is_sampler(inputs: Inputs) -> bool:
    linked = (name for name, value in inputs.items() if _target(value) is not None)
    return bool(_SAMPLES & inputs.keys()) and any(_CONDITION.fullmatch(name) for name in linked)


def _target(value: Any) -> str | None:
    """The node that an input is linked to."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
        return str(value[0])
    return None


def _upstream(nodes: dict[str, Inputs], starts: list[str]) -> Iterator[str]:
    """All nodes, those first from which the fewest links lead to the first of ``starts``."""
    seen: set[str] = set()
    for start in starts:
        waiting = deque([start])
        while waiting:
            key = waiting.popleft()
            if key in seen or key not in nodes:
                continue
            seen.add(key)
            yield key
            waiting.extend(target for value in nodes[key].values() if (target := _target(value)) is not None)


def _texts(nodes: dict[str, Inputs], key: str, seen: set[str], depth: int) -> list[str]:
    """The texts that reach a node: through its conditions, else its texts, else whatever it is linked to."""
    if key in seen or key not in nodes or depth > MOST_LINKS:
        return []
    seen.add(key)
    inputs = nodes[key]
    if "populated_text" in inputs:  # what a template became
        inputs = {"text": inputs["populated_text"]}
    conditions = [name for name in inputs if _CONDITION.fullmatch(name)]
    strings = [name for name in inputs if _TEXT.fullmatch(name)]
    others = [name for name in inputs if not _ELSE.fullmatch(name) and _target(inputs[name]) is not None]
    for names in (conditions, strings, others):
        found: list[str] = []
        for name in names:
            value = inputs[name]
            target = _target(value)
            if target is not None:
                found += _texts(nodes, target, seen, depth + 1)
            elif isinstance(value, str) and value.strip():
                found.append(value.strip())
        if found:
            return _joined(found, inputs)
    return []


def _joined(texts: list[str], inputs: Inputs) -> list[str]:
    """As one text where the node says what to put between them."""
    between = next(
        (inputs[name] for name in ("delimiter", "separator") if isinstance(inputs.get(name), str)), None
    )
    return texts if between is None else [between.join(texts)]
