"""Any no-reference metric of ``pyiqa`` as a judge: it scores the whole image, on its own scale.

As a mapper, ``tiles:clipiqa`` makes a map of the same metric. The licences of pyiqa (PolyForm Noncommercial) and
of many of its weights exclude commercial use; only the extra ``qrefine[pyiqa]`` installs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from qrefine.errors import one_line
from qrefine.models.device import pick_device
from qrefine.quality.map import Image


class MetricJudge:
    """A metric of pyiqa on whole images, on its own scale: one RGB image in, one score out."""

    def __init__(self, metric: str) -> None:
        self.device = pick_device()
        self.metric = load_metric(metric, self.device)

    @torch.no_grad()
    def __call__(self, image: Image) -> float:
        return float(self.metric(metric_input([image], self.device)))


def load_metric(name: str, device: torch.device, weights: str | None = None) -> Any:
    """A no-reference metric of pyiqa; raises ValueError or ImportError with one line that says what is missing."""
    try:
        import pyiqa
    except ImportError as error:
        raise ImportError(f"pyiqa cannot be imported ({one_line(error)}): pip install 'qrefine[pyiqa]'") from error
    options = {} if weights is None else {"pretrained_model_path": weights}
    try:
        metric = pyiqa.create_metric(name, device=device, **options)
    except Exception as error:  # unknown names fail an assert; missing weights raise many classes
        raise ValueError(f"pyiqa has no metric {name!r} here: {one_line(error)}") from error
    if getattr(metric, "metric_mode", "NR") != "NR":
        raise ValueError(f"pyiqa's {name!r} compares with a reference image; a quality map has none")
    return metric


def metric_input(images: Sequence[Image], device: torch.device) -> torch.Tensor:
    """(b, 3, h, w) float32 in [0, 1] of images of one size."""
    pixels = torch.from_numpy(np.stack(images)).to(device)
    return pixels.permute(0, 3, 1, 2).float().div(255).contiguous()
