"""Clean photographs into memory, once: WebDataset tars and folders of images."""

from __future__ import annotations

import glob
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as PIL
from PIL import ImageOps, UnidentifiedImageError

from qrefine.quality.map import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Photos:
    """``images`` are (h, w, 3) uint8 RGB with both sides at or above the asked size; the rest is counted."""

    images: tuple[Image, ...]
    too_small: int
    unreadable: int


def _encoded(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES:
                yield file.read_bytes()
    elif path.suffix.lower() in SUFFIXES:
        yield path.read_bytes()
    else:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile() and member.name.lower().endswith(SUFFIXES):
                    stream = tar.extractfile(member)
                    assert stream is not None  # a regular file
                    yield stream.read()


def decode(encoded: bytes) -> Image:
    """RGB pixels, upright. Raises OSError where Pillow cannot."""
    with PIL.open(io.BytesIO(encoded)) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def load_photos(patterns: Sequence[str], smallest: int) -> Photos:
    """Every photo under the patterns (globs of tars, folders or images) with both sides >= ``smallest`` pixels.

    Raises ValueError, in one line, where a pattern matches nothing, a tar is damaged or no photo is left.
    """
    images, too_small, unreadable = [], 0, 0
    for pattern in patterns:
        paths = sorted(glob.glob(pattern))
        if not paths:
            raise ValueError(f"no file matches --photos {pattern!r}")
        for path in paths:
            try:
                for encoded in _encoded(Path(path)):
                    try:
                        image = decode(encoded)
                    except (OSError, UnidentifiedImageError, PIL.DecompressionBombError):
                        unreadable += 1
                        continue
                    if min(image.shape[:2]) < smallest:
                        too_small += 1
                    else:
                        images.append(image)
            except tarfile.TarError as error:
                raise ValueError(f"{path} is neither a folder, an image nor a readable tar: {error}") from None
    if patterns and not images:
        raise ValueError(
            f"no photo is left of {' '.join(patterns)}: {too_small} smaller than {smallest} px, "
            f"{unreadable} unreadable"
        )
    return Photos(tuple(images), too_small, unreadable)
