"""Texts that a generator may have written into an image file, by keyword. No pixel is decoded.

Files without such texts cost next to nothing: whether there may be any is seen from their first bytes, of PNG from
its chunks. Limits are those of `metadata`, and an EXIF block of MOST_EXIF.
"""

from __future__ import annotations

import PIL.Image

from qrefine.corpus import png
from qrefine.corpus.metadata import EXIF_MARK, Metadata, of_chunks, read_metadata

MOST_EXIF = 1 << 20
HEADERS = 1 << 16  # bytes of a file other than PNG in which its headers say that it has EXIF or XMP
COMMENT, MAKE, MODEL, XMP = "exif:UserComment", "exif:Make", "exif:Model", "xmp"
TOO_LONG = "the image's texts are broken or too long"

_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf")
_EXIF_IFD, _COMMENT, _MAKE, _MODEL = 0x8769, 0x9286, 0x010F, 0x0110


def image_texts(image: bytes) -> tuple[dict[str, str], str | None]:
    """PNG's texts by keyword, texts of EXIF, XMP; and why some are missing. Never raises."""
    found = _metadata(image)
    texts = dict(found.texts)
    if found.exif is not None and len(found.exif) <= MOST_EXIF:
        texts |= _exif_texts(found.exif)
    if found.xmp is not None:
        texts[XMP] = found.xmp.decode("utf-8", "replace")
    return texts, TOO_LONG if found.left_out else None


def _metadata(image: bytes) -> Metadata:
    if image.startswith(png.SIGNATURE):
        try:
            chunks = [chunk for chunk in png.said(image) if chunk.name in _TEXTS]
        except ValueError:
            return Metadata()
        return of_chunks(chunks) if chunks else Metadata()
    start_of_pixels = image.find(b"\xff\xda", 0, HEADERS) if image.startswith(b"\xff\xd8") else -1
    head = image[: start_of_pixels if start_of_pixels > 0 else HEADERS]
    return read_metadata(image) if _may_say(head) else Metadata()


def _may_say(head: bytes) -> bool:
    """Whether a file that is no PNG may hold EXIF or XMP: JPEG has them in front, WebP tells by flags."""
    if head.startswith(b"RIFF"):
        return head[12:16] == b"VP8X" and bool(head[20] & 0b1100)
    return b"Exif" in head or b"xap/1.0" in head or b"rdf+xml" in head


def _exif_texts(exif: bytes) -> dict[str, str]:
    """UserComment, and what ComfyUI writes into Make and Model."""
    if not any(
        mark in exif for mark in (b"\x92\x86", b"\x86\x92", b"prompt:")
    ):  # the comment's tag, ComfyUI's text
        return {}
    try:
        block = PIL.Image.Exif()
        block.load(EXIF_MARK + exif)
        comment = block.get_ifd(_EXIF_IFD).get(_COMMENT)
        texts = {MAKE: block.get(_MAKE), MODEL: block.get(_MODEL)}
    except Exception:  # Pillow throws what it likes on damaged blocks
        return {}
    if isinstance(comment, str):
        comment = comment.encode()
    if isinstance(comment, bytes):
        texts[COMMENT] = _comment(comment, exif.startswith(b"II"))
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _comment(data: bytes, little: bool) -> str:
    """A UserComment: eight bytes that name its encoding, then the text."""
    code, body = data[:8], data[8:]
    if code == b"UNICODE\0":
        # its byte order should be the block's; writers differ, and the zeros of Latin letters show which it is
        first, second = body[::2].count(0), body[1::2].count(0)
        little = little if first == second else second > first
        text = body.decode("utf-16-le" if little else "utf-16-be", "replace").removeprefix("\ufeff")
    else:
        text = (body if code in (b"ASCII\0\0\0", bytes(8)) else data).decode("utf-8", "replace")
    return text.strip("\0 \t\r\n")
