"""Model cards: what a weights file is, where it came from, what it can do. Written by the training jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qrefine.models.weights import sha256


@dataclass(frozen=True)
class ModelCard:
    """The parts of a card; every part is Markdown."""

    title: str
    use: str
    data: str
    recipe: str
    figures: str
    limits: str


def write_card(card: ModelCard, weights: Path) -> Path:
    """Writes the card beside ``weights``, with the file's size and digest; gives its path."""
    path = weights.with_suffix(".md")
    size = weights.stat().st_size / 1e6
    parts = [
        f"# {card.title}",
        card.use,
        f"| file | size | sha256 |\n|---|---|---|\n| `{weights.name}` | {size:.2f} MB | `{sha256(weights)}` |",
        f"## Data\n\n{card.data}",
        f"## Recipe\n\n{card.recipe}",
        f"## Figures\n\n{card.figures}",
        f"## Limits\n\n{card.limits}",
    ]
    path.write_text("\n\n".join(parts) + "\n")
    return path


def stated_digest(path: Path) -> str:
    """The sha256 that the card at ``path`` states. ValueError where it states none."""
    found = re.search(r"`([0-9a-f]{64})`", path.read_text())
    if not found:
        raise ValueError(f"{path}: the card states no sha256")
    return found.group(1)
