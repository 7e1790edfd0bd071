"""The embedded restorer: our own network with weights that ship in the package, inpainter and blind enhancer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from qrefine.models.device import pick_device
from qrefine.models.options import DeviceOptions
from qrefine.models.restorers.embedded_net import ARCHITECTURE, STRIDE, RestorerNet, padded
from qrefine.models.tiling import Floats, in_tiles
from qrefine.models.weights import EMBEDDED, load_weights
from qrefine.quality.map import Image, Plane

OVERLAP = 96  # pixels in which neighbouring tiles fade into each other


class EmbeddedOptions(DeviceOptions):
    bfloat16: bool = Field(False, description="4 times as fast on CPUs with AMX; may move a value by a level")
    tile: int = Field(1024, ge=OVERLAP + STRIDE, le=16384, description="side in pixels restored at once, at most")


class EmbeddedRestorer:
    """Removes blur, noise, compression and resampling artifacts where the strength map asks for it.

    ``weights``: a safetensors file of this architecture; None is the one in the package. ValueError for weights
    that are not its own. float32 gives the same pixels on every CPU but for rare rounding.

    It follows no prompt and draws nothing at random: prompts and seeds are taken and ignored. Images go through
    one at a time, for the same answer in any batch.
    """

    Options = EmbeddedOptions
    context = 48
    one_pass: Literal[True] = True

    def __init__(self, weights: str | None = None, **options: Any) -> None:
        given = self.Options.of(options)
        self.tile, self.bfloat16 = given.tile, given.bfloat16
        self.device = pick_device(given.device)
        net = RestorerNet()
        load_weights(net, Path(weights) if weights else EMBEDDED / "restorer.safetensors", ARCHITECTURE)
        self._net = net.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    def __call__(
        self, images: Sequence[Image], strengths: Sequence[Plane], prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[Image]:
        return [self._restore(*one) for one in zip(images, strengths, strict=True)]

    def _restore(self, image: Image, strength: Plane) -> Image:
        if strength.shape != image.shape[:2]:
            raise ValueError(f"a strength map of {strength.shape} does not fit an image of {image.shape[:2]}")

        def part(rows: slice, columns: slice) -> Floats | None:
            asked = strength[rows, columns]
            return self._forward(image[rows, columns], asked) if asked.any() else None

        restored = in_tiles(part, (*strength.shape, 3), self.tile, OVERLAP, STRIDE)
        pixels = np.clip(np.rint(restored), 0, 255).astype(np.uint8)
        return np.where(strength[..., None] > 0, pixels, image)

    @torch.inference_mode()
    def _forward(self, image: Image, strength: Plane) -> Floats:
        """Restored pixels in 0..255, float32, of one tile."""
        height, width = strength.shape
        pixels = torch.from_numpy(np.array(image)).to(self.device).permute(2, 0, 1)[None].float() / 255
        asked = torch.from_numpy(np.array(strength, dtype=np.float32)).to(self.device)[None, None]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            restored = self._net(padded(pixels), padded(asked))
        return (restored[0].permute(1, 2, 0)[:height, :width] * 255).cpu().numpy()
