"""The format of exported images: as they are, or one for all.

A loader that takes its fields from the first samples, as most do, wants one suffix for all images. Bytes that
already have the format are never decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from qrefine.config import ImageSettings
from qrefine.corpus.encode import encode_as
from qrefine.corpus.formats import SIGNATURE_BYTES, image_format
from qrefine.errors import UserError

Images = Literal["as-is", "png", "jpg", "webp"]
IMAGES: tuple[Images, ...] = get_args(Images)
SUFFIXES = {
    **{"PNG": "png", "JPEG": "jpg", "WebP": "webp", "GIF": "gif", "TIFF": "tif"},
    **{"JPEG 2000": "jp2", "JPEG XL": "jxl", "AVIF": "avif", "HEIC": "heic"},
}
WRITTEN = {"png": "png", "jpg": "jpeg", "webp": "webp"}  # the settings' names of the formats
_SPELLINGS = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "mpo": "jpg", "apng": "png", "tiff": "tif"}


def suffix_of(image: bytes) -> str:
    """The usual suffix of an image, by its bytes."""
    name = image_format(image[:SIGNATURE_BYTES])
    return "bmp" if name is None else SUFFIXES[name]


def common_format(images: Iterable[bytes]) -> str:
    """The suffix that most of these images have; where they have several, it is one that can be written."""
    counts = Counter(suffix_of(image) for image in images)
    if len(counts) == 1:
        return next(iter(counts))
    return max(WRITTEN, key=lambda suffix: counts[suffix])  # the first of those that are as many: png


def converted(image: bytes, suffix: str, settings: ImageSettings) -> bytes:
    """The image in the format of a suffix; its own bytes where it has that format.

    Colour space, depth, transparency and metadata stay as far as the format holds them (`encode_as`). Raises
    ImageError for bytes that cannot be decoded, UserError for a format that is not written.
    """
    if suffix_of(image) == plain(suffix):
        return image
    format_ = WRITTEN.get(plain(suffix))
    if format_ is None:
        raise UserError(
            f"the images are of several formats ({suffix} and {suffix_of(image)}): choose one with --images"
        )
    return encode_as(image, settings.model_copy(update={"format": format_})).data


def plain(suffix: str) -> str:
    """The usual spelling of a suffix: ``JPEG`` is ``jpg``."""
    last = suffix.lower().rpartition(".")[2]
    return _SPELLINGS.get(last, last)


def can_write(suffix: str) -> bool:
    return plain(suffix) in WRITTEN
