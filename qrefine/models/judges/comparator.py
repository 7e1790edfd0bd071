"""The embedded comparator: pairs of images in, for each cell the probability that after is the better one out.

The network looks at what changed, with its surroundings, and at nothing else: an answer costs what the change
costs, and does not depend on changes far away. Windows follow from the pair alone, and go through one at a time in
float32, so the answer is the same in any batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from qrefine.models.device import pick_device
from qrefine.models.judges.comparator_net import ARCHITECTURE, CELL, ComparatorNet, folded
from qrefine.models.options import DeviceOptions
from qrefine.models.weights import EMBEDDED, load_weights
from qrefine.quality.map import Image, Plane
from qrefine.quality.pixels import Flags, differs

CONTEXT = 4
"""Cells around a change that the network sees at least, where the image goes on: 64 px."""

LEAST = 12
"""Cells along a window's side at least: what training showed (192 px)."""

MOST = 48
"""Cells of a change that are judged at once along a side; larger changes go through in parts."""


class Window(NamedTuple):
    """Cells: ``judged`` is what a window answers for, ``seen`` what the network sees; (rows, columns) each."""

    judged: tuple[slice, slice]
    seen: tuple[slice, slice]


class EmbeddedComparator:
    """P(after is nearer the undamaged truth than before) for each cell of 16 px; 1 where nothing changed.

    ``weights``: a safetensors file of this architecture; None is the one in the package. ValueError for weights
    that are not its own, and for pairs of unequal sizes.
    """

    Options = DeviceOptions
    cell = CELL

    def __init__(self, weights: str | None = None, **options: Any) -> None:
        self.device = pick_device(self.Options.of(options).device)
        net = ComparatorNet()
        path = Path(weights) if weights else EMBEDDED / "judge.safetensors"
        self._curve = calibration(load_weights(net, path, ARCHITECTURE), path)
        self._net = folded(net).to(self.device)

    def __call__(self, before: Sequence[Image], after: Sequence[Image]) -> list[Plane]:
        return [self._judge(*pair) for pair in zip(before, after, strict=True)]

    def threshold(self, risk: float) -> float:
        """Of the calibration's risks the greatest that is no more than ``risk``; above 1 where there is none."""
        return next((threshold for known, threshold in self._curve if known <= risk), 2.0)

    @torch.inference_mode()
    def _judge(self, before: Image, after: Image) -> Plane:
        if before.shape != after.shape:
            raise ValueError(f"an image of {before.shape[:2]} cannot be compared with one of {after.shape[:2]}")
        change = changed_cells(before, after)
        pair = [_padded(image) for image in (before, after)]
        answer = np.ones(change.shape, dtype=np.float32)
        for window, own in windows(change):
            pixels = tuple(slice(CELL * s.start, CELL * s.stop) for s in window.seen)
            logits = self._net(*(self._tensor(image[pixels]) for image in pair))[0, 0].float()
            inside = tuple(
                slice(j.start - s.start, j.stop - s.start) for j, s in zip(window.judged, window.seen, strict=True)
            )
            part = torch.sigmoid(logits[inside]).cpu().numpy()
            answer[window.judged][own] = part[own]
        return answer

    def _tensor(self, pixels: Image) -> torch.Tensor:
        # planes one after the other: half of the network's time is spent on planes, and these are faster so
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(self.device)
        return planes[None].float() / 255


def _padded(image: Image) -> Image:
    """Mirrored to the right and below up to multiples of a cell."""
    below, right = (-length % CELL for length in image.shape[:2])
    return np.pad(image, ((0, below), (0, right), (0, 0)), "symmetric")


def changed_cells(before: Image, after: Image) -> Flags:
    """Cells with a pixel that differs."""
    changed = differs(before, after)
    below, right = (-length % CELL for length in changed.shape)
    cells = np.pad(changed, ((0, below), (0, right)))  # what is mirrored there is another cell's change
    rows, columns = cells.shape[0] // CELL, cells.shape[1] // CELL
    return np.asarray(cells.reshape(rows, CELL, columns, CELL).any(axis=(1, 3)))


def windows(change: Flags) -> Iterator[tuple[Window, Flags]]:
    """Windows on cells, and which of the cells in ``judged`` each answers for.

    Changes nearer to each other than twice the context are seen together; every changed cell has one window.
    """
    near = cv2.dilate(change.astype(np.uint8), np.ones((2 * CONTEXT + 1,) * 2, np.uint8))
    count, labels = cv2.connectedComponents(near, connectivity=8)
    for number in range(1, count):
        own = change & (labels == number)
        rows, columns = own.any(axis=1).nonzero()[0], own.any(axis=0).nonzero()[0]
        for row in _spans(int(rows[0]), int(rows[-1]) + 1):
            for column in _spans(int(columns[0]), int(columns[-1]) + 1):
                if own[row, column].any():
                    seen = (_around(row, change.shape[0]), _around(column, change.shape[1]))
                    yield Window((row, column), seen), own[row, column]


def _spans(start: int, stop: int) -> Iterator[slice]:
    """Parts of about equal length, at most MOST."""
    count = -(-(stop - start) // MOST)
    for i in range(count):
        yield slice(start + (stop - start) * i // count, start + (stop - start) * (i + 1) // count)


def _around(span: slice, length: int) -> slice:
    """``span`` with its context, at least LEAST long where the image is."""
    first, last = span.start - CONTEXT, span.stop + CONTEXT
    lacking = max(0, LEAST - (last - first))
    first, last = first - lacking // 2, last + lacking - lacking // 2
    if first < 0:
        first, last = 0, max(last, min(length, LEAST))
    if last > length:
        first, last = min(first, max(0, length - LEAST)), length
    return slice(max(0, first), min(length, last))


def calibration(notes: Mapping[str, str], path: Path) -> list[tuple[float, float]]:
    """(risk, threshold) of a weights file, the greatest risk first; none where it was never calibrated.

    Raises ValueError where the note is not ``{"curve": [[risk, threshold], ...], ...}``.
    """
    if "calibration" not in notes:
        return []
    try:
        curve = [(float(risk), float(threshold)) for risk, threshold in json.loads(notes["calibration"])["curve"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: its calibration is no curve of risks and thresholds") from error
    return sorted(curve, reverse=True)
