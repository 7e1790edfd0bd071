"""Tables of figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

Row = tuple[str, str, str]
"""Name, goal, measured value."""


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table under its title."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    print(f"**{title}**\n\n" + "\n".join(lines) + "\n", flush=True)
