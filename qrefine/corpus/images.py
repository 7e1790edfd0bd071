"""Encoded bytes to RGB arrays and back, with guards against what real corpora hold.

The format is recognised by the bytes, never by the name. Every source becomes 8-bit RGB: EXIF orientation is
applied; palette, grey, CMYK and 16-bit images are converted; transparent pixels are composited on white; only
the first frame of an animation is used.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import PIL.Image
import PIL.ImageOps

from qrefine.config import ImageSettings
from qrefine.corpus.formats import SIGNATURE_BYTES, image_format, pillow_formats
from qrefine.quality.map import Image

# Pillow warns of odd metadata and of sizes; we check both ourselves. Set once, not around each call: warning
# filters belong to the process, and images are decoded in threads
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(ValueError):
    """The bytes are not an image that we accept; the message is the error in the table."""


def decode(data: bytes, settings: ImageSettings) -> Image:
    """RGB pixels (h, w, 3) uint8 of an encoded image; raises ImageError with the reason."""
    if not data:
        raise ImageError("image member is empty (0 bytes)")
    try:
        with PIL.Image.open(io.BytesIO(data), formats=pillow_formats()) as image:
            width, height = image.size
            if width * height > settings.max_megapixels * 1e6:
                raise ImageError(
                    f"too many pixels: {width} x {height}, over the limit of {settings.max_megapixels:g}"
                    " megapixels (images.max_megapixels)"
                )
            image.load()
            return _rgb(_upright(image))
    except ImageError:
        raise
    except PIL.UnidentifiedImageError as error:
        name = image_format(data[:SIGNATURE_BYTES])
        what = f"{name} image, damaged or of a kind that Pillow cannot read" if name else "not an image"
        raise ImageError(f"{what} (begins with {data[:8]!r})") from error
    except PIL.Image.DecompressionBombError as error:
        raise ImageError(f"too many pixels: {error}") from error
    except MemoryError as error:
        raise ImageError("image does not fit into memory") from error
    except Exception as error:  # decoders throw what they like on damaged input
        raise ImageError(f"{type(error).__name__}: {error}") from error


def icc_profile(data: bytes) -> bytes | None:
    """The colour profile of the pixels; None means sRGB. Reads the headers only."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=pillow_formats()) as image:
            return image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
    except Exception:  # as in decode; an image without its profile is better than none
        return None


def encode(pixels: Image, settings: ImageSettings, profile: bytes | None = None) -> bytes:
    """Pixels as png, webp or jpeg bytes, deterministic; the profile is embedded, so that colours stay the same."""
    out = io.BytesIO()
    image = PIL.Image.fromarray(pixels)
    match settings.format:
        case "png":
            image.save(out, "PNG", compress_level=settings.compression, icc_profile=profile)
        case "webp":
            lossless = settings.quality == 100
            image.save(out, "WEBP", quality=settings.quality, lossless=lossless, icc_profile=profile)
        case "jpeg":
            image.save(out, "JPEG", quality=settings.quality, subsampling=0, icc_profile=profile)
    return out.getvalue()


def _upright(image: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return PIL.ImageOps.exif_transpose(image)
    except (ValueError, TypeError, KeyError, SyntaxError, OSError, struct.error):
        return image  # a damaged EXIF block says nothing about the pixels


def _rgb(image: PIL.Image.Image) -> Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        image = PIL.Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))  # a copy: it outlives the file


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """16- and 32-bit grey to 8 bits. Pillow's own conversion clips at 255 and leaves a white image."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all() or values.min() < 0:
        raise ImageError(f"grey values of mode {image.mode} outside [0, 65535]")
    most = values.max()
    scale = 1.0 if image.mode == "F" and most <= 1 else 65535.0
    if most > scale:
        raise ImageError(f"grey values of mode {image.mode} up to {most:g}, over {scale:g}")
    return PIL.Image.fromarray(np.rint(values * (255 / scale)).astype(np.uint8))
