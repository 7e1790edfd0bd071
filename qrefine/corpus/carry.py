"""What a refined image keeps of what its source said beside the pixels, and the entry that says who changed it.

PNG to PNG, chunks go along as they are: those that may be copied by the standard's own letter, and colour. Else
EXIF and XMP are moved as blocks, and a PNG's texts to where the tools that write them put them in other formats.
Our entry stands in the XMP: every format has one, and nobody else's words are overwritten there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import PIL.Image

from qrefine.corpus import png
from qrefine.corpus.colour import Space
from qrefine.corpus.images import ORIENTATION, Source
from qrefine.corpus.metadata import EXIF_MARK, RAW_PROFILES, XMP_KEYWORD

NAMESPACE = "urn:qrefine:1"
_COLOUR_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
_RDF_END = b"</rdf:RDF>"
_OURS = re.compile(rb"<rdf:Description[^>]*\sxmlns:qrefine=[^>]*/>")
_ABOUT = re.compile(rb"""rdf:about=("[^"]*"|'[^']*')""")
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:=["']|>))[2-8]""")
_EMPTY_XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_REWRITTEN = tuple(keyword.encode() + b"\0" for keyword in (XMP_KEYWORD, *RAW_PROFILES))
_JPEG_SEGMENT = 65533  # most bytes of one
_JPEG_XMP = _JPEG_SEGMENT - len(b"http://ns.adobe.com/xap/1.0/\0")
_MANIFEST = b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"  # the type of a C2PA manifest store
_MANIFEST_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_USER_COMMENT, _EXIF_FOLDER = 0x9286, 0x8769
# keywords of PNG texts, tags of EXIF; those of ComfyUI, with their prefix, are its own way to write WebP
_TAGS = {
    "Description": (0x010E, ""),
    "Software": (0x0131, ""),
    "Author": (0x013B, ""),
    "Copyright": (0x8298, ""),
    "prompt": (0x0110, "prompt:"),
    "workflow": (0x010F, "workflow:"),
}


class Extras(NamedTuple):
    """What goes into a file beside the pixels; ``chunks``: of a PNG, all else is for other formats."""

    profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    comment: str | None = None
    chunks: tuple[png.Chunk, ...] = ()


NOTHING = Extras()


def carried(
    source: Source, kind: str, space: Space | None, changes: Mapping[str, str], lost: Iterable[str]
) -> tuple[Extras, tuple[str, ...]]:
    """What of the source goes into a file of ``kind`` (png, webp, jpeg), with an entry of ``changes`` if any.

    ``space`` is that of the pixels, None for plain sRGB. Second comes what is lost: ``lost``, and whatever that
    file cannot hold.
    """
    metadata, gone = source.metadata, [*lost]
    profile = None if space is None else space.profile
    if _has_manifest(source):
        gone.append("c2pa")
    exif = None if metadata.exif is None else upright_exif(metadata.exif)
    if kind != "png":
        exif, comment, left = _texts_as_exif(metadata.texts, exif, kind)
        if left or metadata.left_out:
            gone.append("text")
        if kind == "jpeg" and exif and len(exif) + len(EXIF_MARK) > _JPEG_SEGMENT:
            exif = None
            gone.append("exif")
    xmp = metadata.xmp and _XMP_ORIENTATION.sub(rb"\g<1>1", metadata.xmp)
    if xmp and (_RDF_END not in xmp or (kind == "jpeg" and len(xmp) > _JPEG_XMP - 1000)):
        xmp = None
        gone.append("xmp")
    if changes:
        xmp = with_entry(xmp or _EMPTY_XMP, dict(changes) | ({"lost": ", ".join(gone)} if gone else {}))
    if kind != "png":
        return Extras(profile, exif and EXIF_MARK + exif, xmp, comment), tuple(gone)
    chunks = [png.text_chunk(XMP_KEYWORD, xmp.decode("utf-8", "replace"))] if xmp else []
    chunks += [png.Chunk(b"eXIf", exif)] if exif else []
    if source.image.format == "PNG":
        unused = _COLOUR_CHUNKS if space is None else (b"iCCP",) if "icc" in gone else ()
        chunks = [chunk for chunk in source.chunks if chunk.name not in unused and _goes_along(chunk)] + chunks
    else:
        chunks += [png.text_chunk(*text) for text in metadata.texts.items()]
        chunks += [png.profile_chunk(profile)] if profile else []
    return Extras(chunks=tuple(chunks)), tuple(gone)


def upright_exif(exif: bytes) -> bytes:
    """The TIFF block with orientation 1, changed in place, so that offsets into it stay right."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return exif
        start = struct.unpack_from(f"{order}I", exif, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", exif, start)[0]):
            place = start + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(f"{order}HHI", exif, place)
            if (tag, kind, count) == (ORIENTATION, 3, 1) and place + 12 <= len(exif):
                return exif[: place + 8] + struct.pack(f"{order}H", 1) + exif[place + 10 :]
    except struct.error:
        pass  # a damaged block says nothing about the pixels
    return exif


def with_entry(xmp: bytes, changes: Mapping[str, str]) -> bytes:
    """The XMP packet with our entry as its last description; an older one of ours goes."""
    xmp = _OURS.sub(b"", xmp)
    about = _ABOUT.search(xmp)
    values = "".join(f" qrefine:{name}={quoteattr(value)}" for name, value in changes.items())
    entry = f' xmlns:qrefine="{NAMESPACE}"{values}/>'.encode()
    head, _, tail = xmp.rpartition(_RDF_END)
    subject = about[1] if about else b'""'
    return b"".join((head, b"<rdf:Description rdf:about=", subject, entry, _RDF_END, tail))


def _goes_along(chunk: png.Chunk) -> bool:
    if chunk.name == b"eXIf" or chunk.body.startswith(_REWRITTEN):
        return False
    return chunk.name in _COLOUR_CHUNKS or chunk.name[3:].islower()  # that letter: holds for any pixels


def _has_manifest(source: Source) -> bool:
    """C2PA's manifest store, wherever a format keeps it."""
    match source.image.format:
        case "PNG":
            there = any(chunk.name == b"caBX" for chunk in source.chunks)
        case "JPEG" | "MPO":
            segments = source.image.applist  # type: ignore[attr-defined]
            there = any(name == "APP11" and b"jumb" in body and b"c2pa" in body for name, body in segments)
        case "WEBP":
            there = b"C2PA" in _riff_chunks(source.data)
        case "TIFF":
            there = 0xCD41 in source.image.tag_v2  # type: ignore[attr-defined]
        case _:
            there = _MANIFEST_BOX in source.data
    return there or _MANIFEST in source.data


def _riff_chunks(data: bytes) -> set[bytes]:
    names, place = set(), 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        names.add(name)
        place += 8 + length + length % 2
    return names


def _texts_as_exif(
    texts: Mapping[str, str], exif: bytes | None, kind: str
) -> tuple[bytes | None, str | None, bool]:
    """EXIF with the texts in it, the comment of a JPEG, and whether texts are left that have no place."""
    left = dict(texts)
    comment = left.pop("Comment", None) if kind == "jpeg" else None
    if comment and len(comment.encode()) > _JPEG_SEGMENT:
        left["Comment"], comment = comment, None
    if not left:
        return exif, comment, False
    block = PIL.Image.Exif()
    try:
        block.load(EXIF_MARK + exif if exif else b"")
        details = block.get_ifd(_EXIF_FOLDER)
        if _USER_COMMENT not in details and "parameters" in left:
            details[_USER_COMMENT] = b"UNICODE\0" + left.pop("parameters").encode("utf-16-be")
        for keyword, (tag, prefix) in _TAGS.items():
            if tag not in block and keyword in left:
                block[tag] = (prefix + left.pop(keyword)).encode()
        made = block.tobytes().removeprefix(EXIF_MARK)
    except (ValueError, TypeError, KeyError, SyntaxError, OSError, struct.error):
        return exif, comment, True
    if kind == "jpeg" and len(made) + len(EXIF_MARK) > _JPEG_SEGMENT:
        return exif, comment, True
    return made, comment, bool(left)
