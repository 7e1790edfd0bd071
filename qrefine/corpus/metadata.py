"""What an image file says beside its pixels: texts, EXIF, XMP, colour. Read without decoding a pixel.

Limits: 16 MiB of text and 8 MiB of colour profile for an image, unpacked (`MAX_TEXT`, `MAX_PROFILE` in `png.py`).
What is longer, or broken, is as if it were not there.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import PIL.Image

from qrefine.corpus import png
from qrefine.corpus.formats import pillow_formats

EXIF_MARK = b"Exif\0\0"
XMP_KEYWORD = "XML:com.adobe.xmp"
RAW_PROFILES = ("Raw profile type exif", "Raw profile type APP1")  # how ImageMagick puts EXIF into a PNG's text
# a TIFF file is all tags; these say something about the picture, not about the file
_DESCRIPTIVE = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_FOLDERS = (0x8769, 0x8825)


@dataclass(frozen=True)
class Metadata:
    """``texts``: a PNG's texts by keyword, or another format's comment. ``exif``: a TIFF block, from its byte
    order on. ``icc``: the embedded colour profile, empty where it cannot be read. ``colour``: bodies of a PNG's
    other colour chunks by name, or what AVIF and HEIC say of the same. ``left_out``: there were texts too long or
    broken."""

    texts: Mapping[str, str] = field(default_factory=dict)
    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    colour: Mapping[bytes, bytes] = field(default_factory=dict)
    left_out: bool = False


def read_metadata(data: bytes) -> Metadata:
    """The metadata of an encoded image; empty where the bytes are no image."""
    try:
        if data.startswith(png.SIGNATURE):
            return of_chunks(png.split(data)[1])
        with PIL.Image.open(io.BytesIO(data), formats=pillow_formats()) as image:
            return of_image(image, data)
    except Exception:  # decoders throw what they like on damaged input
        return Metadata()


def of_chunks(said: Sequence[png.Chunk]) -> Metadata:
    """The metadata of a PNG's chunks."""
    by_name = {chunk.name: chunk.body for chunk in said}
    texts, left_out = png.read_texts(said)
    xmp = texts.pop(XMP_KEYWORD, None)
    exif = by_name.get(b"eXIf")
    for keyword in RAW_PROFILES:
        raw = texts.pop(keyword, None)
        exif = exif or (raw and _from_hex(raw)) or None
    return Metadata(
        texts,
        _without_mark(exif),
        None if xmp is None else xmp.encode(),
        png.read_profile(by_name[b"iCCP"]) if b"iCCP" in by_name else None,
        {name: by_name[name] for name in (b"cICP", b"sRGB", b"gAMA", b"cHRM") if name in by_name},
        left_out,
    )


def of_image(image: PIL.Image.Image, data: bytes) -> Metadata:
    """The metadata in the headers of a file of another format, which Pillow has opened."""
    comment = image.info.get("comment", b"")
    text = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else str(comment)
    xmp, icc = image.info.get("xmp"), image.info.get("icc_profile")
    return Metadata(
        {"Comment": text.rstrip("\0")} if text.strip("\0") else {},
        _tiff_exif(image) if image.format == "TIFF" else _without_mark(image.info.get("exif")),
        xmp.encode() if isinstance(xmp, str) else xmp or None,
        icc if not icc or len(icc) <= png.MAX_PROFILE else b"",
        _coded_colour(data) if image.format in ("AVIF", "HEIF") and not icc else {},  # there a profile comes first
    )


def _coded_colour(data: bytes) -> dict[bytes, bytes]:
    """Numbers of primaries and transfer curve, as in a PNG's cICP, of an ISO media file."""
    place = data.find(b"colrnclx", 0, 1 << 16)
    if place < 0 or place + 12 > len(data):
        return {}
    primaries, transfer = struct.unpack_from(">HH", data, place + 8)
    return {b"cICP": bytes((primaries & 255, transfer & 255, 0, 1))}


def _without_mark(exif: bytes | None) -> bytes | None:
    return exif.removeprefix(EXIF_MARK) or None if exif else None


def _from_hex(raw: str) -> bytes | None:
    """Bytes of a raw profile: a name and a length on lines of their own, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(raw.split("\n")[3:]))
    except ValueError:
        return None


def _tiff_exif(image: PIL.Image.Image) -> bytes | None:
    found, kept = image.getexif(), PIL.Image.Exif()
    try:
        for tag in _DESCRIPTIVE:
            if tag in found:
                kept[tag] = found[tag]
        for folder in _FOLDERS:
            if values := found.get_ifd(folder):
                kept.get_ifd(folder).update(values)
        return _without_mark(kept.tobytes()) if len(kept) or any(kept.get_ifd(f) for f in _FOLDERS) else None
    except (ValueError, TypeError, KeyError, SyntaxError, OSError, struct.error):
        return None
