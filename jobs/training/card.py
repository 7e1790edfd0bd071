"""Model cards: what a weights file is, where it came from, what it can do. Written by the training jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qrefine.models.weights import sha256

FIGURES = ("<!-- figures -->", "<!-- /figures -->")
"""What lies between is replaced by the evaluation."""


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
        f"## Figures\n\n{FIGURES[0]}\n{card.figures}\n{FIGURES[1]}",
        f"## Limits\n\n{card.limits}",
    ]
    path.write_text("\n\n".join(parts) + "\n")
    return path


def set_figures(path: Path, figures: str) -> None:
    """Puts ``figures`` in the place of those in the card at ``path``. ValueError where it has no such place."""
    text = path.read_text()
    pattern = re.compile(re.escape(FIGURES[0]) + ".*?" + re.escape(FIGURES[1]), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{path}: the card has no place for figures ({FIGURES[0]} ... {FIGURES[1]})")
    path.write_text(pattern.sub(lambda _: f"{FIGURES[0]}\n{figures}\n{FIGURES[1]}", text))


def stated_digest(path: Path) -> str:
    """The sha256 that the card at ``path`` states. ValueError where it states none."""
    found = re.search(r"`([0-9a-f]{64})`", path.read_text())
    if not found:
        raise ValueError(f"{path}: the card states no sha256")
    return found.group(1)
