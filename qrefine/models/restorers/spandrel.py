"""Restoration checkpoints by file, through ``spandrel``: Real-ESRGAN, SwinIR, SCUNet, ... as E_B (equation 7).

spandrel tells the architecture by the state dict's names. The file is read here, so that nothing is unpickled.
Upscalers count as restorers: their answer is brought back to the image's own size. Licences are those of the
weights; the extra is ``qrefine[spandrel]`` (MIT; it needs torchvision).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from qrefine.models.checkpoint import one_line, read_checkpoint
from qrefine.models.memory import free_memory
from qrefine.models.tiling import in_tiles
from qrefine.quality.map import Image, Plane

log = logging.getLogger(__name__)

WHAT = "restoration checkpoint that spandrel knows"
SMALLEST_TILE = 64
ALIGN = 16  # of the tiles' starts; windows of attention and cells of upscalers fall into step with it


class SpandrelRestorer:
    """A checkpoint's answer, mixed with the image by the strength map; large images in overlapping tiles.

    ``tile``: side in pixels of what the network sees at once. ``overlap``: pixels in which neighbouring tiles fade
    into each other. Tiles run one by one, so that an answer does not depend on the batch. Where memory runs out
    the tile is halved and the size remembered.
    """

    def __init__(
        self,
        weights: str | None = None,
        *,
        tile: int = 512,
        overlap: int = 32,
        context: int = 32,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if tile < SMALLEST_TILE or not 1 <= overlap <= tile // 4:
            raise ValueError(
                f"tile must be {SMALLEST_TILE} or more and overlap 1 to a quarter of it, not {tile} and {overlap}"
            )
        self.context, self.tile, self.overlap = context, tile, overlap
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        state = read_checkpoint(weights, WHAT)
        try:
            from spandrel import ImageModelDescriptor, ModelLoader
        except ImportError as error:
            reason = f"spandrel cannot be imported ({one_line(error)})"
            raise ImportError(f"{reason}: pip install 'qrefine[spandrel]'") from error
        try:
            model: Any = ModelLoader(self.device).load_from_state_dict(state)
        except Exception as error:  # whatever an architecture makes of foreign weights
            raise ValueError(f"{weights} holds no {WHAT}: {one_line(error)}") from error
        if not isinstance(model, ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
            raise ValueError(f"{weights} is a {model.architecture.name} model, which does not take RGB to RGB")
        self.model = model.eval()
        half = self.device.type == "cuda" and (dtype or "bfloat16") == "bfloat16" and model.supports_bfloat16
        self.dtype = torch.bfloat16 if half else torch.float32
        model.to(dtype=self.dtype)

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        """See `qrefine.models.base.Restorer`. Prompts and seeds are not used: the enhancer is blind."""
        return [
            _mixed(image, self._restore(image), plane) if plane.any() else image
            for image, plane in zip(images, strengths, strict=True)
        ]

    def _restore(self, image: Image) -> np.ndarray:
        while True:
            try:
                return self._tiled(image)
            except torch.OutOfMemoryError:
                if self.tile // 2 < max(SMALLEST_TILE, 4 * self.overlap):
                    raise
            self.tile //= 2
            log.warning("out of memory: from now on tiles of %d pixels", self.tile)
            free_memory()

    def _tiled(self, image: Image) -> np.ndarray:
        """The network's answer at the image's size, (h, w, 3) float32 in 0..255."""
        return in_tiles(
            lambda rows, columns: self._answer(image[rows, columns]), image.shape, self.tile, self.overlap, ALIGN
        )

    @torch.no_grad()
    def _answer(self, tile: Image) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(tile)).to(self.device).permute(2, 0, 1)[None]
        y = self.model(x.to(self.dtype).div(255))[0].float().clamp(0, 1).mul(255)
        answer = y.permute(1, 2, 0).cpu().numpy()
        if answer.shape[:2] != tile.shape[:2]:
            answer = cv2.resize(answer, (tile.shape[1], tile.shape[0]), interpolation=cv2.INTER_AREA)
        return answer


def _mixed(image: Image, restored: np.ndarray, strength: Plane) -> Image:
    w = strength[..., None]
    mixed = np.rint(w * restored + (1 - w) * image).clip(0, 255).astype(np.uint8)
    return np.where(w > 0, mixed, image)
