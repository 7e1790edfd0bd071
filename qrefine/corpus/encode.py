"""Pixels to image files; and refined pixels into the form that their source had.

A refined image has the source's colour space, alpha and depth as far as the output format holds them. A pixel that
was not changed keeps the source's exact values. Where one was changed a little, what 8-bit sRGB cannot hold of the
source (colours out of its gamut, lower bits) fades out with the size of the change, so that no seam shows.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
import PIL.Image

from qrefine.config import ImageSettings
from qrefine.corpus import png
from qrefine.corpus.carry import NOTHING, Extras, carried
from qrefine.corpus.colour import Space
from qrefine.corpus.images import Planes, Source, eight_bits, opened
from qrefine.quality.map import Image

FADE = 16  # levels of change from which on nothing of the source's own values is left
RUN_LENGTHS = 3  # up to this level of PNG compression; a search for repetitions finds few more in photographs
_MODES = {"png": ("L", "RGB"), "webp": ("L", "RGB"), "jpeg": ("L", "RGB", "CMYK")}


class Encoded(NamedTuple):
    """A file, and what it lacks that its source had (see `LOSSES` in `qrefine/sample.py`)."""

    data: bytes
    lost: tuple[str, ...]


def encode(
    pixels: np.ndarray, settings: ImageSettings, extras: Extras = NOTHING, mode: str | None = None
) -> bytes:
    """Pixels as png, webp or jpeg bytes, deterministic: (h, w) or (h, w, c), uint8, for png also uint16. ``mode``
    is Pillow's where the number of channels does not tell it."""
    if settings.format == "png":
        return png.join(_png(pixels, settings.compression), extras.chunks)
    out = io.BytesIO()
    height, width = pixels.shape[:2]
    mode = mode or {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.size // (height * width)]
    image = PIL.Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
    said = {"icc_profile": extras.profile, "exif": extras.exif, "xmp": extras.xmp}
    said = {name: value for name, value in said.items() if value}
    if settings.format == "webp":
        lossless = settings.quality == 100
        image.save(out, "WEBP", quality=settings.quality, lossless=lossless, exact=True, **said)
    else:
        image.save(out, "JPEG", quality=settings.quality, subsampling=0, comment=extras.comment, **said)
    return out.getvalue()


def encode_refined(
    refined: Image, source: bytes, settings: ImageSettings, changes: Mapping[str, str]
) -> Encoded | None:
    """The refined pixels (h, w, 3) uint8 in the source's form, with its metadata and an entry of ``changes``.

    None where all changes lie under full transparency. Raises ImageError where the source cannot be read.
    """
    with opened(source, settings) as found:
        flat = found.transparent and settings.format == "jpeg"
        own = _held(found.space, settings.format) and not flat
        if flat or (own and found.space.plain and not found.transparent and not found.deep):
            values = found.space.from_srgb(refined) if own else refined
            return _written(Planes(values, found.space if own else Space("RGB")), found, settings, changes)
        planes = found.planes()
        back = put_back(refined, planes if own else planes.as_srgb)
        return None if back is None else _written(back, found, settings, changes)


def encode_as(source: bytes, settings: ImageSettings) -> Encoded:
    """The image in another format, with the source's form and metadata as far as that holds them.

    Raises ImageError where the source cannot be read.
    """
    with opened(source, settings) as found:
        planes = found.planes()
        if found.transparent and settings.format == "jpeg":
            planes = Planes(planes.seen(), Space("RGB"))
        elif not _held(found.space, settings.format):
            planes = planes.as_srgb
        return _written(planes, found, settings, {})


def put_back(refined: Image, planes: Planes) -> Planes | None:
    """The planes with the pixels changed that differ from `planes.seen()`; None where no change can be seen.

    Refined pixels (h, w, 3) uint8 are as on white. Others keep their values, as do fully transparent ones.
    """
    foreground = planes.foreground
    change = refined.astype(np.int16) - planes.seen()
    if planes.alpha is not None:
        alpha = eight_bits(planes.alpha)[..., None].astype(np.int32)
        change = np.where(alpha > 0, change * 255 / np.maximum(alpha, 1), 0)
        change = np.clip(np.rint(change), -255, 255).astype(np.int16)
    at = change.any(axis=-1)
    if not at.any():
        return None
    old = foreground[at][None]
    wanted = np.clip(old + change[at][None], 0, 255).astype(np.uint8)
    near = np.clip(FADE - np.abs(change[at]).max(axis=-1), 0, FADE)[None, :, None].astype(np.int64)
    scale = 257 if planes.colour.dtype == np.uint16 else 1
    new = planes.space.from_srgb(wanted).astype(np.int64) * scale
    rest = planes.colour[at][None] - planes.space.from_srgb(old).astype(np.int64) * scale
    most = np.iinfo(planes.colour.dtype).max
    values = planes.values.copy()
    values[at, : new.shape[2]] = np.clip(new + rest * near // FADE, 0, most)[0]
    return Planes(values, planes.space)


def _written(planes: Planes, source: Source, settings: ImageSettings, changes: Mapping[str, str]) -> Encoded:
    """The planes as a file with what the source says; they are in its own space, or in plain sRGB."""
    kind, values = settings.format, planes.values
    own = planes.space == source.space
    there = {
        "depth": source.deep and (bool(changes) or kind != "png" or values.dtype == np.uint8),
        "alpha": source.transparent and planes.alpha is None,
        "frames": _more_frames(source),
    }
    lost = [*_colours_lost(source, own), *(name for name in there if there[name])]
    extras, all_lost = carried(source, kind, planes.space if own else None, changes, lost)
    values = values if kind == "png" else eight_bits(values)
    return Encoded(encode(values, settings, extras, "CMYK" if planes.space.mode == "CMYK" else None), all_lost)


def _held(space: Space, kind: str) -> bool:
    """Whether files of that kind hold pixels of that space. WebP has no grey, so no profile of one."""
    return space.mode in _MODES[kind] and (kind != "webp" or space.mode == "RGB" or space.plain)


def _more_frames(source: Source) -> bool:
    try:
        return getattr(source.image, "n_frames", 1) > 1 or any(chunk.name == b"acTL" for chunk in source.chunks)
    except Exception:  # the next frame is damaged: there was one
        return True


def _colours_lost(source: Source, own: bool) -> list[str]:
    space, metadata = source.space, source.metadata
    if not own and space.mode in ("CMYK", "LAB"):
        return [space.mode.lower()]
    unusable = metadata.icc is not None and b"cICP" not in metadata.colour and space.profile != metadata.icc
    return ["icc"] if unusable or not (own or space.plain) else []


def _png(pixels: np.ndarray, level: int) -> bytes:
    """8 bits by OpenCV, in three fifths of Pillow's time and no larger. It has no grey with alpha."""
    if pixels.dtype == np.uint16:
        return png.sixteen_bits(pixels, level)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 2:
        out = io.BytesIO()
        PIL.Image.fromarray(pixels).save(out, "PNG", compress_level=level)
        return out.getvalue()
    if channels > 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if channels == 3 else cv2.COLOR_RGBA2BGRA)
    strategy = cv2.IMWRITE_PNG_STRATEGY_RLE if level <= RUN_LENGTHS else cv2.IMWRITE_PNG_STRATEGY_DEFAULT
    how = (cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy)
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels), how)
    if not done:
        raise ValueError("OpenCV made no PNG of it")
    return bytes(data)
