"""The format of exported images: as they are, or one for all.

A loader that takes its fields from the first samples, as most do, wants one suffix for all images. Bytes that
already have the format are never decoded.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

import PIL.Image
import PIL.ImageOps

from qrefine.config import ImageSettings
from qrefine.corpus.formats import SIGNATURE_BYTES, image_format, pillow_formats
from qrefine.corpus.images import decode
from qrefine.errors import UserError

Images = Literal["as-is", "png", "jpg", "webp"]
IMAGES: tuple[Images, ...] = get_args(Images)
SUFFIXES = {
    **{"PNG": "png", "JPEG": "jpg", "WebP": "webp", "GIF": "gif", "TIFF": "tif"},
    **{"JPEG 2000": "jp2", "JPEG XL": "jxl", "AVIF": "avif", "HEIC": "heic"},
}
_WRITTEN = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_SPELLINGS = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "mpo": "jpg", "apng": "png", "tiff": "tif"}
_DEEP = ("I", "I;16", "I;16L", "I;16B", "F")  # Pillow's modes of more than 8 bits, which png alone keeps


def suffix_of(image: bytes) -> str:
    """The usual suffix of an image, by its bytes."""
    name = image_format(image[:SIGNATURE_BYTES])
    return "bmp" if name is None else SUFFIXES[name]


def common_format(images: Iterable[bytes]) -> str:
    """The suffix that most of these images have; where they have several, it is one that can be written."""
    counts = Counter(suffix_of(image) for image in images)
    if len(counts) == 1:
        return next(iter(counts))
    return max(_WRITTEN, key=lambda suffix: counts[suffix])  # the first of those that are as many: png


def converted(image: bytes, suffix: str, settings: ImageSettings) -> bytes:
    """The image in the format of a suffix; its own bytes where it has that format.

    The colour profile stays. EXIF orientation is applied, and other metadata of the file is dropped. Where the
    format has no transparency (jpg), white lies behind it. Raises ImageError for bytes that cannot be decoded.
    """
    if suffix_of(image) == plain(suffix):
        return image
    kind = _WRITTEN.get(plain(suffix))
    if kind is None:
        raise UserError(
            f"the images are of several formats ({suffix} and {suffix_of(image)}): choose one with --images"
        )
    picture, profile = _opened(image, kind, settings)
    out = io.BytesIO()
    match kind:
        case "PNG":
            picture.save(out, kind, compress_level=settings.compression, icc_profile=profile)
        case "WEBP":
            lossless = settings.quality == 100
            picture.save(out, kind, quality=settings.quality, lossless=lossless, icc_profile=profile)
        case "JPEG":
            picture.save(out, kind, quality=settings.quality, subsampling=0, icc_profile=profile)
    return out.getvalue()


def plain(suffix: str) -> str:
    """The usual spelling of a suffix: ``JPEG`` is ``jpg``."""
    last = suffix.lower().rpartition(".")[2]
    return _SPELLINGS.get(last, last)


def can_write(suffix: str) -> bool:
    return plain(suffix) in _WRITTEN


def _opened(image: bytes, kind: str, settings: ImageSettings) -> tuple[PIL.Image.Image, bytes | None]:
    """The upright image in a mode that the format can hold, and its colour profile."""
    pixels = decode(image, settings)  # refuses what is damaged or too large
    with PIL.Image.open(io.BytesIO(image), formats=pillow_formats()) as source:
        profile = source.info.get("icc_profile") if source.mode in ("RGB", "RGBA", "P") else None
        if kind != "JPEG" and source.has_transparency_data:
            return PIL.ImageOps.exif_transpose(source).convert("RGBA"), profile
        if kind == "PNG" and source.mode in _DEEP:
            return PIL.ImageOps.exif_transpose(source), profile
    return PIL.Image.fromarray(pixels), profile
