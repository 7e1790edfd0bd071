"""The embedded restorer: our own network with weights that ship in the package, inpainter and blind enhancer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from qrefine.models.device import pick_device
from qrefine.models.options import DeviceOptions
from qrefine.models.restorers.blurs import resampled
from qrefine.models.restorers.embedded_net import ARCHITECTURE, KINDS, STRIDE, RestorerNet
from qrefine.models.restorers.exact import measured_weight, undone
from qrefine.models.tiling import Floats, in_tiles, tiles
from qrefine.models.weights import EMBEDDED, load_weights
from qrefine.quality.map import Image, Plane
from qrefine.quality.pixels import laid_over

BLUR, SOME = KINDS.index("blur"), 0.02
"""The kind that resampled pictures are taken for, and the least share of it that is worth a look."""

OVERLAP = 96  # pixels over which neighbouring tiles are blended


class EmbeddedOptions(DeviceOptions):
    bfloat16: bool = Field(
        False, description="4 times as fast on CPUs with AMX, slower on others; may change a value by one level"
    )
    tile: int = Field(1024, ge=OVERLAP + STRIDE, le=16384, description="largest side in pixels restored at once")


class EmbeddedRestorer:
    """Removes blur, noise, compression and resampling artifacts where the strength map asks for it.

    Salt-and-pepper noise, grids that repeat and blur are measured and undone first (``exact``): they are known
    better than a network can guess them. The network has the rest.

    ``weights``: a safetensors file of this architecture; None is the file in the package. Other weights raise
    ValueError. float32 gives the same pixels on every CPU except for rare rounding.

    Prompts and seeds are ignored. Images are processed one at a time, so that results do not depend on the batch.
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
        self._net = net.eval().to(self.device)
        for part in (net.trunk, net.teller):  # not the differences: channels_last does not support five axes
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch omits it

    def __call__(
        self, images: Sequence[Image], strengths: Sequence[Plane], prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[Image]:
        return [self._restore(*one) for one in zip(images, strengths, strict=True)]

    def _restore(self, image: Image, strength: Plane) -> Image:
        if strength.shape != image.shape[:2]:
            raise ValueError(f"a strength map of {strength.shape} does not fit an image of {image.shape[:2]}")

        known = undone(image, strength, self.device)
        shares = self._shares(known, strength)

        def part(rows: slice, columns: slice) -> Floats | None:
            asked = strength[rows, columns]
            return self._forward(known[rows, columns], asked, shares) if asked.any() else None

        restored = in_tiles(part, (*strength.shape, 3), self.tile, OVERLAP, STRIDE)
        pixels = np.rint(restored, out=restored).clip(0, 255, out=restored).astype(np.uint8)  # one plane of floats
        return laid_over(image, pixels, strength > 0)

    @torch.inference_mode()
    def _shares(self, image: Image, strength: Plane) -> Tensor:
        """The shares of the kinds of damage, one set per image: otherwise tiles would be restored differently.

        A lattice says that the picture was shrunk and grown, so the share of blur goes to nothing to repair:
        sharpening as if it were blurred does harm.
        """
        total = torch.zeros(len(KINDS) + 1)
        axes = (tiles(length, self.tile, OVERLAP, STRIDE) for length in strength.shape)
        for y, x in product(*axes):
            asked = strength[slice(*y), slice(*x)]
            if asked.any():
                pixels, plane = self._padded(image[slice(*y), slice(*x)], asked)
                total += self._net.shares(pixels, plane)[0].cpu() * float(asked.mean()) * asked.size
        total /= total.sum().clamp_min(1e-12)
        if total[BLUR] > SOME and resampled(image, measured_weight(strength)):
            total[-1], total[BLUR] = total[-1] + total[BLUR], 0
        return total.to(self.device)

    def _padded(self, image: Image, strength: Plane) -> tuple[Tensor, Tensor]:
        """Mirrored up to multiples of ``STRIDE``: (1, 3, h, w) and (1, 1, h, w), float32 in [0, 1]."""
        height, width = strength.shape
        margins = ((0, -height % STRIDE), (0, -width % STRIDE))
        pixels = torch.from_numpy(np.pad(image, (*margins, (0, 0)), "symmetric")).to(self.device)
        asked = torch.from_numpy(np.pad(strength, margins, "symmetric").astype(np.float32)).to(self.device)
        return pixels.permute(2, 0, 1)[None].float() / 255, asked[None, None]

    @torch.inference_mode()
    def _forward(self, image: Image, strength: Plane, shares: Tensor) -> Floats:
        """Restored pixels in 0..255, float32, of one tile."""
        height, width = strength.shape
        pixels, asked = self._padded(image, strength)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            restored = self._net(pixels, asked, shares)
        return (restored[0].permute(1, 2, 0)[:height, :width] * 255).cpu().numpy()
