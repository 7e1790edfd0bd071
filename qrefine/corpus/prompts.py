"""The prompt of a sample: its text file, or what its JSON says."""

from __future__ import annotations

import json

PROMPT_FIELDS = ("prompt", "caption")  # of the JSON; the first that is a string is taken


def prompt_of(text: str | None, metadata: str | None) -> str | None:
    """The prompt in a sample's text or JSON member; None where neither has one."""
    if text is not None or metadata is None:
        return text
    try:
        values = json.loads(metadata)
    except (ValueError, RecursionError):
        return None  # the JSON goes into the table as it came
    if not isinstance(values, dict):
        return None
    prompt = next((values[name] for name in PROMPT_FIELDS if isinstance(values.get(name), str)), None)
    # JSON may escape half a surrogate pair, which no UTF-8 can hold
    return None if prompt is None else prompt.encode("utf-8", "replace").decode("utf-8")
