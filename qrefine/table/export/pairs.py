"""Pairs of before and after, as those who train on them read them.

``restoration``: before, after, the mask of what changed, and the prompt, for networks that restore.
``preference``: the columns of the Pick-a-Pic data set, which DPO trainers of diffusion models read.

Both images of a pair are decoded and encoded in the same way, so that the format does not tell which is the better
one; both are upright, and of one size.
"""

from __future__ import annotations

import io
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image

from qrefine.config import ImageSettings
from qrefine.corpus.encode import encode
from qrefine.corpus.images import decode
from qrefine.quality.map import Image
from qrefine.table.export.images import WRITTEN, suffix_of

Pairs = Literal["restoration", "preference"]
PAIRS: tuple[Pairs, ...] = get_args(Pairs)
LOSSY_LEVELS = 8  # a change of so few levels, of 255, is no change where the image was stored with loss


class Pair:
    """One refined sample: RGB pixels before and after, (h, w, 3) uint8 of one size."""

    def __init__(self, before: bytes, after: bytes, settings: ImageSettings) -> None:
        """Raises ImageError where either cannot be decoded, ValueError where their sizes differ."""
        self.before, self.after = decode(before, settings), decode(after, settings)
        self._levels = 0 if suffix_of(after) == "png" else LOSSY_LEVELS
        if self.before.shape != self.after.shape:
            raise ValueError("before and after are not of one size")

    @property
    def mask(self) -> Image:
        """255 where any channel changed, else 0; (h, w) uint8."""
        change = np.abs(self.before.astype(np.int16) - self.after).max(axis=-1)
        return np.where(change > self._levels, 255, 0).astype(np.uint8)

    def files(self, suffix: str, settings: ImageSettings) -> dict[str, bytes]:
        """The three images of a restoration pair, encoded; the mask is always a png."""
        out = io.BytesIO()
        PIL.Image.fromarray(self.mask).save(out, "PNG", compress_level=settings.compression)
        before, after = self.encoded(suffix, settings)
        return {"before": before, "after": after, "mask": out.getvalue()}

    def encoded(self, suffix: str, settings: ImageSettings) -> tuple[bytes, bytes]:
        format_ = settings.model_copy(update={"format": WRITTEN[suffix]})
        return encode(self.before, format_), encode(self.after, format_)


def restoration_members(files: dict[str, bytes], suffix: str) -> list[tuple[str, bytes]]:
    """The members of a restoration pair in a tar, by suffix."""
    return [(f"{name}.{'png' if name == 'mask' else suffix}", data) for name, data in files.items()]


def restoration_row(files: dict[str, bytes], told: dict[str, Any], prompt: str) -> dict[str, Any]:
    images = {name: {"bytes": data, "path": None} for name, data in files.items()}
    return {**images, "prompt": prompt, **told}


def preference_row(chosen: bytes, rejected: bytes, told: dict[str, Any], prompt: str) -> dict[str, Any]:
    """A row with the columns of Pick-a-Pic: ``label_0`` is 1 where ``jpg_0`` is preferred, as here always."""
    return {"jpg_0": chosen, "jpg_1": rejected, "label_0": 1.0, "label_1": 0.0, "caption": prompt, **told}
