"""What image files say beside their pixels: read whole, in bounded memory, and never at the price of the image."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.corpus import png
from qrefine.corpus.metadata import read_metadata
from tests.support import encoded, photo

PHOTO = photo(size=32)


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return png.join(encoded(PHOTO), [png.Chunk(*chunk) for chunk in chunks])


def test_texts_of_all_three_kinds_are_read() -> None:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("parameters", "a castle\nNegative prompt: fog")
    info.add_text("workflow", "{}" * 1000, zip=True)
    info.add_itxt("Title", "Schloß 城", zip=True)
    texts = read_metadata(encoded(PHOTO, pnginfo=info)).texts
    assert texts == {"parameters": "a castle\nNegative prompt: fog", "workflow": "{}" * 1000, "Title": "Schloß 城"}


def test_texts_behind_the_pixels_are_read() -> None:
    data = encoded(PHOTO)
    late = data[:-12] + png.join(b"x" * 33, [png.text_chunk("late", "text")])[33:] + data[-12:]
    assert read_metadata(late).texts == {"late": "text"}


def test_utf_8_in_a_chunk_for_latin_1_is_read_as_it_was_meant() -> None:
    data = with_chunks((b"tEXt", b"a\0" + "Schloß".encode()), (b"tEXt", b"b\0" + "Schloß".encode("latin-1")))
    assert read_metadata(data).texts == {"a": "Schloß", "b": "Schloß"}


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_bomb_stays_packed(kind: bytes) -> None:
    squeezed = zlib.compress(bytes(300 << 20), 9)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    data = with_chunks((kind, head + squeezed), (b"tEXt", b"other\0text"))
    tracemalloc.start()
    found = read_metadata(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * png.MAX_TEXT
    assert (found.texts, found.icc, found.left_out) == (
        {"other": "text"},
        b"" if kind == b"iCCP" else None,
        kind != b"iCCP",
    )


def test_many_texts_share_one_limit() -> None:
    body = b"\0\0" + zlib.compress(bytes(png.MAX_TEXT // 3))
    found = read_metadata(with_chunks(*((b"zTXt", b"%d" % place + body) for place in range(9))))
    assert (sorted(found.texts), found.left_out) == (["0", "1", "2"], True)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_exif_xmp_and_profiles_of_every_format(kind: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "a castle"
    exif[0x0131] = "camera"
    profile = b"a profile"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    if kind == "PNG":
        info = PIL.PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        data = encoded(PHOTO, kind, exif=exif, icc_profile=profile, pnginfo=info)
    elif kind == "TIFF":
        data = encoded(PHOTO, kind, tiffinfo={0x010E: "a castle", 0x0131: "camera", 700: xmp}, icc_profile=profile)
    else:
        data = encoded(PHOTO, kind, exif=exif, icc_profile=profile, xmp=xmp)
    found = read_metadata(data)
    back = PIL.Image.Exif()
    back.load(found.exif)
    assert (back[0x010E], back[0x0131]) == ("a castle", "camera")
    assert (found.xmp, found.icc) == (xmp, profile)
    assert 0x0111 not in back  # where a TIFF's pixels lie says nothing about the picture


def test_exif_that_imagemagick_put_into_a_text_is_exif() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    text = f"\nexif\n{len(raw):8d}\n{raw.hex()}\n"
    found = read_metadata(with_chunks((b"tEXt", b"Raw profile type exif\0" + text.encode())))
    assert (found.exif, found.texts) == (raw.removeprefix(b"Exif\0\0"), {})


def test_a_chunk_that_claims_more_than_there_is_is_named() -> None:
    data = encoded(PHOTO)
    huge = data[:33] + struct.pack(">I4s", 0xFFFFFFFF, b"tEXt") + data[33:]
    with pytest.raises(ValueError, match=r"PNG chunk b'tEXt' at byte 33 claims 4294967295 bytes, \d+ are there"):
        png.split(huge)
    assert read_metadata(huge).texts == {}


@settings(max_examples=150, deadline=None)
@given(
    bodies=st.lists(
        st.tuples(
            st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"vpAg"]),
            st.binary(max_size=40),
        ),
        max_size=5,
    ),
    cut=st.integers(0, 400),
)
def test_any_chunks_are_read_or_left_out(bodies: list[tuple[bytes, bytes]], cut: int) -> None:
    whole = with_chunks(*bodies)
    assert png.split(whole) == (encoded(PHOTO), [png.Chunk(*body) for body in bodies])
    read_metadata(whole)
    read_metadata(whole[:-cut] if cut else whole)


@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_image_say_nothing(data: bytes) -> None:
    read_metadata(png.SIGNATURE + data)
    read_metadata(data)
