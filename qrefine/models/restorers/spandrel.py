"""Restoration checkpoints by file, through ``spandrel``: Real-ESRGAN, SwinIR, SCUNet, ... as E_B (equation 7).

spandrel detects the architecture from the names in the state dict. The file is read here, so that nothing is
unpickled. Upscalers work too: their output is resized to the image's size. The weights have their own licences;
the extra is ``qrefine[spandrel]`` (MIT; it needs torchvision).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from typing_extensions import Self

from qrefine.errors import NotFiniteError, one_line
from qrefine.models.device import pick_device
from qrefine.models.memory import Halving
from qrefine.models.options import DeviceOptions
from qrefine.models.tiling import in_tiles
from qrefine.models.weights import read_checkpoint
from qrefine.quality.map import Image, Plane

WHAT = "restoration checkpoint that spandrel knows"
SMALLEST_TILE = 64
ALIGN = 16  # of tile starts, to match attention windows and upscaler cells


class SpandrelOptions(DeviceOptions):
    tile: int = Field(
        512, ge=SMALLEST_TILE, le=16384, description="largest side in pixels that the network sees at once"
    )
    overlap: int = Field(32, ge=1, le=4096, description="pixels in which neighbouring tiles fade into each other")
    context: int = Field(32, ge=0, le=1024, description="pixels of context around a defect")
    dtype: Literal["bfloat16", "float32"] | None = Field(
        None, description="null: bfloat16 on a GPU if the architecture supports it; float32 on a CPU"
    )

    @model_validator(mode="after")
    def _advances(self) -> Self:
        if self.overlap > self.tile // 4:
            raise ValueError(f"overlap is a quarter of a tile at most, not {self.overlap} of {self.tile}")
        return self


class SpandrelRestorer:
    """A checkpoint's output, blended with the image by the strength map; large images in overlapping tiles.

    Tiles run one by one, so that results do not depend on the batch. If memory runs out, the tile size is halved
    and remembered.
    """

    Options = SpandrelOptions
    one_pass: Literal[True] = True

    def __init__(self, weights: str | None = None, **options: Any) -> None:
        given = self.Options.of(options)
        self.context, self.tile, self.overlap = given.context, given.tile, given.overlap
        self._halving = Halving("pixels a tile's side", least=max(SMALLEST_TILE, 4 * given.overlap))
        self.device = pick_device(given.device)
        state = read_checkpoint(weights, WHAT)
        try:
            from spandrel import ImageModelDescriptor, ModelLoader
        except ImportError as error:
            reason = f"spandrel cannot be imported ({one_line(error)})"
            raise ImportError(f"{reason}: pip install 'qrefine[spandrel]'") from error
        try:
            model: Any = ModelLoader(self.device).load_from_state_dict(state)
        except Exception as error:  # architectures raise various errors for foreign weights
            raise ValueError(f"{weights} holds no {WHAT}: {one_line(error)}") from error
        if not isinstance(model, ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
            raise ValueError(f"{weights} is a {model.architecture.name} model, which does not take RGB to RGB")
        self.model = model.eval()
        half = self.device.type == "cuda" and given.dtype != "float32" and model.supports_bfloat16
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
        """The network's output at the image's size, (h, w, 3) float32 in 0..255."""

        def answer(rows: slice, columns: slice) -> np.ndarray:
            return self._answer(image[rows, columns])

        return self._halving.run(lambda tile: in_tiles(answer, image.shape, tile, self.overlap, ALIGN), self.tile)

    @torch.no_grad()
    def _answer(self, tile: Image) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(tile)).to(self.device).permute(2, 0, 1)[None]
        y = self.model(x.to(self.dtype).div(255))[0].float().cpu()
        if not y.isfinite().all():  # as bytes they would be black, or white
            raise NotFiniteError("the model gave values that are not finite")
        answer = y.clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
        if answer.shape[:2] != tile.shape[:2]:
            answer = cv2.resize(answer, (tile.shape[1], tile.shape[0]), interpolation=cv2.INTER_AREA)
        return answer


def _mixed(image: Image, restored: np.ndarray, strength: Plane) -> Image:
    w = strength[..., None]
    mixed = np.rint(w * restored + (1 - w) * image).clip(0, 255).astype(np.uint8)
    return np.where(w > 0, mixed, image)
