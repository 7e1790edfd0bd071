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

from qrefine.models.mappers.embedded_net import MapperNet
from qrefine.quality.map import Image
from qrefine.training.figures import spearman
from qrefine.training.photos import decode

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
            images.append(decode(file.read_bytes()))
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
