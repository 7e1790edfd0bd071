"""Encoded bytes to pixels, with guards against what real corpora hold.

Models see 8-bit sRGB: EXIF orientation is applied, colour profiles are obeyed, transparent pixels are composited
on white, and only the first frame of an animation counts. The source's own pixels can be had beside it.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image

from qrefine.config import ImageSettings
from qrefine.corpus import jpeg, png
from qrefine.corpus.colour import CHANNELS, Space, space_of
from qrefine.corpus.formats import SIGNATURE_BYTES, image_format, missing_plugin, pillow_formats
from qrefine.corpus.jxl import jxl_size
from qrefine.corpus.metadata import EXIF_MARK, Metadata, of_chunks, of_image
from qrefine.quality.map import Image

# Pillow warns of odd metadata and of sizes; we check both ourselves. Set once, not around each call: warning
# filters belong to the process, and images are decoded in threads
warnings.filterwarnings("ignore", module=r"PIL\.")

ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: lambda pixels: cv2.transpose(pixels),
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class ImageError(ValueError):
    """The bytes are not an image that we accept; the message is the error in the table."""


class Read(NamedTuple):
    """What models see, (h, w, 3) uint8, and what the source lacks (see `LOSSES` in `qrefine/sample.py`)."""

    pixels: Image
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Planes:
    """Upright pixels in their own space and depth: (h, w, c) uint8 or uint16; alpha, if any, comes last."""

    values: np.ndarray
    space: Space

    @property
    def colour(self) -> np.ndarray:
        return self.values[..., : CHANNELS[self.space.mode]]

    @property
    def alpha(self) -> np.ndarray | None:
        return self.values[..., -1] if self.values.shape[2] > CHANNELS[self.space.mode] else None

    @cached_property
    def foreground(self) -> np.ndarray:
        """The colours as sRGB (h, w, 3) uint8, whatever covers them."""
        return self.space.to_srgb(eight_bits(self.colour))

    @property
    def as_srgb(self) -> Planes:
        """The same with 8-bit sRGB for colours."""
        if self.space.plain and self.space.mode == "RGB":
            return Planes(eight_bits(self.values), self.space)
        alpha = self.alpha
        values = self.foreground if alpha is None else cv2.merge((self.foreground, eight_bits(alpha)))
        return Planes(values, Space("RGB"))

    def seen(self) -> Image:
        """The image on white, (h, w, 3) uint8."""
        if self.alpha is None or self.alpha.min() == np.iinfo(self.values.dtype).max:
            return np.array(self.foreground)  # a copy: it outlives the file
        covered = PIL.Image.fromarray(self.as_srgb.values)
        white = PIL.Image.new("RGBA", covered.size, "white")
        return np.array(PIL.Image.alpha_composite(white, covered).convert("RGB"))


@dataclass
class Source:
    """An image whose header is read and whose pixels are not yet."""

    data: bytes
    image: PIL.Image.Image
    metadata: Metadata
    chunks: tuple[png.Chunk, ...]  # of a PNG, those that do not draw
    orientation: int
    space: Space
    lost: tuple[str, ...] = ()

    @property
    def transparent(self) -> bool:
        return self.image.has_transparency_data or (
            self.image.mode == "I;16" and "transparency" in self.image.info
        )

    @property
    def deep(self) -> bool:
        """More than 8 bits a channel."""
        if self.image.mode.startswith("I") or self.image.mode == "F":
            return True
        match self.image.format:
            case "PNG":
                return self.data[24] == 16
            case "TIFF":
                bits = self.image.tag_v2.get(258, ())  # type: ignore[attr-defined]
                return max(bits, default=8) > 8
            case "AVIF" | "HEIF":
                place = self.data.find(b"pixi", 0, 1 << 16)
                return place > 0 and max(self.data[place + 9 : place + 9 + self.data[place + 8]], default=8) > 8
        return False

    def planes(self) -> Planes:
        """The pixels, with all their bits where they can be had."""
        self._load()
        values = _upright(_own_values(self.image), self.orientation)
        if self.deep and values.dtype == np.uint8:
            values = self._deep(values)
        return Planes(values, self.space)

    def _load(self) -> None:
        try:
            self.image.load()
        except OSError:
            whole = jpeg.without_tail(self.data) if self.image.format in ("JPEG", "MPO") else None
            if whole is None:
                raise
            self.image, self.lost = whole, ("tail",)
        if self.image.format == "TIFF":
            self.orientation = 1  # Pillow has applied it

    def _deep(self, values: np.ndarray) -> np.ndarray:
        """16 bits by OpenCV, as Pillow has none in colour, where they agree with the 8 that it read."""
        try:
            found = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            return values
        if found is None or found.dtype != np.uint16:
            return values
        found = _upright(_planes_of(found), self.orientation)
        if found.shape[2] >= 3:
            found = found[..., [2, 1, 0, 3][: found.shape[2]]]
        agree = found.shape == values.shape and np.abs(eight_bits(found).astype(np.int16) - values).max() <= 1
        return found if agree else values


def decode(data: bytes, settings: ImageSettings) -> Image:
    """RGB pixels (h, w, 3) uint8 of an encoded image; raises ImageError with the reason."""
    return read(data, settings).pixels


def read(data: bytes, settings: ImageSettings) -> Read:
    """The pixels as models see them; raises ImageError with the reason."""
    with opened(data, settings) as source:
        return Read(source.planes().seen(), source.lost)


@contextmanager
def opened(data: bytes, settings: ImageSettings) -> Iterator[Source]:
    """The image, its header read; whatever goes wrong with it, here or in the body, is an ImageError."""
    if not data:
        raise ImageError("image member is empty (0 bytes)")
    name = image_format(data[:SIGNATURE_BYTES])
    try:
        if name == "JPEG XL":
            _check_size(jxl_size(data) or (0, 0), settings)  # before it is opened: that decodes it
        drawn, chunks = png.split(data) if name == "PNG" else (data, [])
        with PIL.Image.open(io.BytesIO(drawn), formats=pillow_formats()) as image:
            _check_size(image.size, settings)
            metadata = of_chunks(chunks) if name == "PNG" else of_image(image, data)
            orientation = 1 if name == "JPEG XL" else _orientation(image, metadata)
            space = space_of(_own_mode(image), metadata)
            yield Source(data, image, metadata, tuple(chunks), orientation, space)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError as error:
        if extra := missing_plugin(name):
            raise ImageError(f"{name} image: install qrefine[{extra}] to read it") from error
        what = f"{name} image, damaged or of a kind that Pillow cannot read" if name else "not an image"
        raise ImageError(f"{what} (begins with {data[:8]!r})") from error
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from error
    except MemoryError as error:
        raise ImageError("image does not fit into memory") from error
    except Exception as error:  # decoders throw what they like on damaged input
        raise ImageError(f"{type(error).__name__}: {error}") from error


def eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 or uint16 values as uint8, rounded."""
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_size(size: tuple[int, int], settings: ImageSettings) -> None:
    width, height = size
    if width * height > settings.max_megapixels * 1e6:
        raise ImageError(
            f"too many pixels: {width} x {height}, over the limit of {settings.max_megapixels:g}"
            " megapixels (images.max_megapixels)"
        )


def _orientation(image: PIL.Image.Image, metadata: Metadata) -> int:
    """1 to 8 as EXIF numbers them, or as XMP says where there is no EXIF."""
    if image.format == "PNG":
        said = {"exif": metadata.exif and EXIF_MARK + metadata.exif, "xmp": metadata.xmp}
        image.info.update({name: value for name, value in said.items() if value})
    try:
        return int(PIL.Image.Image.getexif(image).get(ORIENTATION, 1))  # a PNG's own would load its pixels
    except (ValueError, TypeError, KeyError, SyntaxError, OSError, struct.error):
        return 1  # a damaged EXIF block says nothing about the pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation not in _UPRIGHT:
        return pixels
    return _UPRIGHT[orientation](np.ascontiguousarray(pixels)).reshape(
        *(pixels.shape[:2] if orientation < 5 else pixels.shape[1::-1]), *pixels.shape[2:]
    )


def _own_mode(image: PIL.Image.Image) -> str:
    """The mode that the image's colours have without its alpha."""
    if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"):
        return "L"
    return image.mode if image.mode in ("CMYK", "LAB") else "RGB"


def _planes_of(values: np.ndarray) -> np.ndarray:
    return values[..., None] if values.ndim == 2 else values


def _own_values(image: PIL.Image.Image) -> np.ndarray:
    """Colour, and alpha if there is one, of a loaded image."""
    if image.mode.startswith("I") or image.mode == "F":
        grey, key = _sixteen_bits(image), image.info.get("transparency")
        if isinstance(key, int):  # the shade that stands for a hole
            return np.dstack((grey, np.where(grey == key, 0, 65535).astype(np.uint16)))
        return grey[..., None]
    mode = _own_mode(image)
    if not image.has_transparency_data:
        return _planes_of(np.asarray(image if image.mode == mode else image.convert(mode)))
    if mode == "L":
        return np.asarray(image.convert("RGBA").convert("LA") if image.mode == "1" else image.convert("LA"))
    return np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))


def _sixteen_bits(image: PIL.Image.Image) -> np.ndarray:
    """16- and 32-bit grey as uint16. Pillow's own conversion clips at 255 and leaves a white image."""
    values = np.asarray(image)
    if values.dtype == np.uint16:
        return values
    values = values.astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ImageError(f"grey values of mode {image.mode} outside [0, 65535]")
    most = values.max()
    scale = 1.0 if image.mode == "F" and most <= 1 else 65535.0
    if most > scale:
        raise ImageError(f"grey values of mode {image.mode} up to {most:g}, over {scale:g}")
    return np.rint(values * (65535 / scale)).astype(np.uint16)
