"""The embedded quality mapper: our own network with weights that ship in the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from qrefine.models.device import pick_device
from qrefine.models.mappers.embedded_net import ARCHITECTURE, MapperNet, folded
from qrefine.models.mappers.embedded_pass import patch_features
from qrefine.models.options import DeviceOptions
from qrefine.models.weights import EMBEDDED, load_weights
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import patch_count


class EmbeddedMapper:
    """Q = 1 - the predicted severity of damage, on a map of ``grid`` x ``grid`` patches or more.

    No side of a patch exceeds ``patch`` pixels, if set (see `patch_count`). ``weights``: a safetensors file of
    this architecture; None is the file in the package. Other weights raise ValueError. Images need at least one
    pixel.

    Images are processed one at a time, in float32: kernels are chosen by shape, so a batch would change the last
    bits of the scores. On two CPU cores batches were no faster.
    """

    Options = DeviceOptions

    def __init__(
        self, weights: str | None = None, grid: int = 16, patch: int | None = None, **options: Any
    ) -> None:
        if grid < 1:
            raise ValueError(f"a quality map has at least one patch a side, not {grid}")
        self.grid, self.patch = grid, patch
        self.device = pick_device(self.Options.of(options).device)
        net = MapperNet()
        load_weights(net, Path(weights) if weights else EMBEDDED / "mapper.safetensors", ARCHITECTURE)
        self._net = folded(net).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        return [self._map(image) for image in images]

    def _map(self, image: Image) -> QualityMap:
        height, width = image.shape[:2]
        n = patch_count(height, width, self.grid, self.patch)
        severity = torch.sigmoid(self._net.head(patch_features(self._net, image, n, self.device))[0, ..., 0])
        return QualityMap(1 - severity.cpu().numpy())
