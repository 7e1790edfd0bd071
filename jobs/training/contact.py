"""Contact sheets: what the figures say, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageDraw

Image = NDArray[np.uint8]


def tile(picture: Image | NDArray[np.float32], side: int) -> PIL.Image:
    """A picture, or a map in [0, 1] (nearest neighbour), within a square of ``side`` px."""
    if picture.ndim == 2:
        grey = PIL.fromarray(np.clip(picture * 255, 0, 255).astype(np.uint8))
        return grey.resize((side, side), PIL.Resampling.NEAREST).convert("RGB")
    image = PIL.fromarray(picture)
    image.thumbnail((side, side), PIL.Resampling.LANCZOS)
    return image


def sheet(
    path: Path,
    cells: Sequence[tuple[str, Sequence[Image | NDArray[np.float32]]]],
    side: int = 160,
    wide: int = 1600,
) -> None:
    """Cells of a line of text above a column of pictures, in rows, as a PNG at ``path``."""
    if not cells:
        return
    most = max(len(pictures) for _, pictures in cells)
    columns, height = max(1, wide // (side + 4)), 14 + most * (side + 2)
    rows = -(-len(cells) // columns)
    page = PIL.new("RGB", (columns * (side + 4), rows * height), (255, 255, 255))
    pen = ImageDraw.Draw(page)
    for number, (text, pictures) in enumerate(cells):
        x, y = number % columns * (side + 4), number // columns * height
        pen.text((x + 1, y + 1), text[: side // 6], fill=(160, 0, 0))
        for k, picture in enumerate(pictures):
            page.paste(tile(picture, side), (x, y + 14 + k * (side + 2)))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def difference(a: Image, b: Image) -> Image:
    """Four times the difference about mid grey."""
    return np.clip((b.astype(np.float32) - a) * 4 + 128, 0, 255).astype(np.uint8)
