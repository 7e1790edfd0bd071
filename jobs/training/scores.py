"""A user's own human scores: the mapper's head fitted to them, the features left as they are."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from qrefine.models.mappers.embedded_net import ARCHITECTURE, MapperNet
from qrefine.models.weights import EMBEDDED, load_weights, save_weights
from qrefine.quality.map import Image
from training.card import ModelCard, write_card
from training.figures import spearman
from training.pictures import decoded

GRID = 16
KEPT = 3e-2
"""Pull of the weights towards where they were: some hundred scores should bend the head, not replace it."""


@dataclass(frozen=True)
class Scored:
    """Image files and their scores, brought to [0, 1] by the lowest and the highest of them."""

    files: tuple[Path, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Fit:
    """Rank correlation of q with the scores that were held out, before and after."""

    images: int
    held_out: int
    before: float
    after: float


def read_scores(path: Path) -> Scored:
    """A CSV of ``file,score`` with that header; files stand relative to the CSV, a higher score is better.

    Raises ValueError, naming the line, for a missing column or file, a score that is no number, or fewer than
    ten rows.
    """
    files, scores = [], []
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            if not {"file", "score"} <= set(rows.fieldnames or ()):
                raise ValueError(f"{path}: expected the columns file and score, found {rows.fieldnames}")
            for row in rows:
                try:
                    score = float(row["score"])
                except (TypeError, ValueError):
                    raise ValueError(
                        f"{path}, line {rows.line_num}: the score {row['score']!r} is no number"
                    ) from None
                if not np.isfinite(score):
                    raise ValueError(f"{path}, line {rows.line_num}: the score {row['score']!r} is not finite")
                file = path.parent / row["file"]
                if not file.is_file():
                    raise ValueError(f"{path}, line {rows.line_num}: there is no file {file}")
                files.append(file)
                scores.append(score)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    if len(files) < 10 or min(scores) == max(scores):
        raise ValueError(f"{path}: {len(files)} rows; a fit needs ten or more, with scores that differ")
    low, high = min(scores), max(scores)
    return Scored(tuple(files), tuple((score - low) / (high - low) for score in scores))


def load_scored(scored: Scored) -> list[Image]:
    """The images, decoded. ValueError naming the file that Pillow cannot read."""
    images = []
    for file in scored.files:
        try:
            images.append(decoded(file.read_bytes()))
        except OSError as error:
            raise ValueError(f"{file}: cannot be decoded: {error}") from None
    return images


def fit_head(net: MapperNet, images: Sequence[Image], scores: Sequence[float], steps: int, seed: int) -> Fit:
    """Fits the head of ``net``, in place, so that q follows ``scores`` in [0, 1]; every fifth image is held out.

    q is the mean of Q over a 16 x 16 map. The loss is the squared error of q plus the pull towards the old head.
    """
    features = torch.stack([_features(net, image) for image in images])
    target = torch.tensor(scores, dtype=torch.float32)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    held, used = order[::5], torch.tensor([i for place, i in enumerate(order.tolist()) if place % 5])
    before = spearman(_q(net, features[held]), target[held].tolist())
    start = [parameter.detach().clone() for parameter in net.head.parameters()]
    optimiser = torch.optim.Adam(net.head.parameters(), 1e-3)
    for _ in range(steps):
        q = 1 - torch.sigmoid(net.head(features[used])[..., 0]).mean((1, 2))
        moved = sum(((p - s) ** 2).sum() for p, s in zip(net.head.parameters(), start, strict=True))
        loss = F.mse_loss(q, target[used]) + KEPT * moved / len(used)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Fit(len(images), len(held), before, spearman(_q(net, features[held]), target[held].tolist()))


@torch.no_grad()
def _features(net: MapperNet, image: Image) -> Tensor:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return net.patches(pixels, GRID)[0]


@torch.no_grad()
def _q(net: MapperNet, features: Tensor) -> list[float]:
    return (1 - torch.sigmoid(net.head(features)[..., 0]).mean((1, 2))).tolist()


def fit(scores: Path, out: Path, init: Path | None = None, steps: int = 500, seed: int = 0) -> str:
    """Fits the head of ``init`` (None: the embedded mapper) to ``scores``; writes weights and a card.

    Gives the figures as a line. Raises ValueError for a CSV, an image or weights that will not do.
    """
    scored = read_scores(scores)
    net, weights = MapperNet().eval(), init or EMBEDDED / "mapper.safetensors"
    notes = load_weights(net, weights, ARCHITECTURE)
    result = fit_head(net, load_scored(scored), scored.scores, steps, seed)
    save_weights(net, out, ARCHITECTURE, {**notes, "scores": scores.name})
    figures = (
        f"Spearman of q with the {result.held_out} of {result.images} scores that were held out: "
        f"{result.before:.3f} before, {result.after:.3f} after."
    )
    card = ModelCard(
        title="Mapper fitted to human scores",
        use="A quality mapper for `mapper.weights`: the embedded one with a head that follows human scores.",
        data=f"Human scores from `{scores.name}`, brought to [0, 1] by their lowest and highest.",
        recipe=f"The head of `{weights.name}` fitted in {steps} steps, seed {seed}.",
        figures=figures,
        limits="As the mapper that it was fitted from; a few hundred scores bend its head and do not replace it.",
    )
    return f"wrote {out} and {write_card(card, out)}. {figures}"
