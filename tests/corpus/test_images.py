"""Images in and out: whatever the source holds becomes upright 8-bit RGB, or fails with a reason."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qrefine.config import ImageSettings
from qrefine.corpus.formats import SIGNATURE_BYTES, image_format
from qrefine.corpus.images import ImageError, decode, read
from qrefine.quality.map import Image
from tests.support import encoded, photo

SETTINGS = ImageSettings()
PHOTO = photo(size=48)[:, :40]  # upright: sides differ
PROFILE = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def saved(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, rows: bytes, *extra: bytes, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG by hand: ``rows`` are the compressed scan lines."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def close(a: Image, b: Image, most: float) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).mean() <= most


def turned(image: Image, orientation: int) -> Image:
    """The pixels that a camera stores so that a viewer who obeys ``orientation`` sees ``image``."""
    return {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: image.transpose(1, 0, 2)[::-1],
        7: image.transpose(1, 0, 2)[::-1, ::-1],
        8: image.transpose(1, 0, 2)[:, ::-1],
    }[orientation]


# What is read


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "most"), [("PNG", 0), ("WEBP", 0), ("JPEG", 4), ("TIFF", 0), ("AVIF", 6)])
def test_exif_orientation_is_applied(kind: str, most: float, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(np.ascontiguousarray(turned(PHOTO, orientation)))
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    assert close(decode(saved(stored, kind, exif=exif, **options), SETTINGS), PHOTO, most)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"", b"Exif\0\0II*\0\0\0\0\0"]
)
def test_a_damaged_exif_block_leaves_the_pixels_as_they_are(exif: bytes) -> None:
    data = saved(PIL.Image.fromarray(PHOTO), "JPEG", quality=98, subsampling=0, exif=exif)
    assert close(decode(data, SETTINGS), PHOTO, 4)


@settings(max_examples=80, deadline=None)
@given(tail=st.binary(max_size=60))
def test_no_exif_block_costs_an_image(tail: bytes) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12" + tail
    pixels = decode(saved(PIL.Image.fromarray(PHOTO), "JPEG", exif=exif), SETTINGS)
    assert sorted(pixels.shape) == sorted(PHOTO.shape)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "JPEG2000", "WEBP", "JPEG", "AVIF"])
def test_every_format_is_read(kind: str) -> None:
    lossy = {"quality": 98, "subsampling": 0}
    options = {"WEBP": {"lossless": True}, "JPEG": lossy, "AVIF": {"quality": 98}}.get(kind, {})
    assert close(
        decode(encoded(PHOTO, kind, **options), SETTINGS), PHOTO, 0 if kind not in ("GIF", "JPEG", "AVIF") else 9
    )


def test_palette_images_become_their_colours() -> None:
    image = PIL.Image.fromarray(PHOTO).quantize(16)
    assert np.array_equal(decode(saved(image, "PNG"), SETTINGS), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(kind: str) -> None:
    image = PIL.Image.new("P", (4, 2), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    pixels = decode(saved(image, kind, transparency=0), SETTINGS)
    assert pixels[0, 1].tolist() == [0, 0, 255]
    assert pixels[1].tolist() == [[255] * 3] * 4


def test_a_palette_with_partial_transparency_is_blended() -> None:
    image = PIL.Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 100, 100, 100])
    image.putpixel((1, 0), 1)
    pixels = decode(saved(image, "PNG", transparency=bytes([0, 255])), SETTINGS)
    assert pixels.tolist() == [[[255] * 3, [100] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composited_on_white(kind: str) -> None:
    rgba = np.zeros((2, 3, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    rgba[0, :, 3] = [0, 128, 255]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    pixels = decode(saved(PIL.Image.fromarray(rgba), kind, **options), SETTINGS)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert np.abs(pixels[0, 1].astype(int) - [227, 127, 127]).max() <= 1
    assert pixels[0, 2].tolist() == [200, 0, 0]
    assert (pixels[1] == 255).all()


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    image = np.zeros((1, 2, 3), dtype=np.uint8)
    image[0, 1] = [9, 8, 7]
    pixels = decode(saved(PIL.Image.fromarray(image), "PNG", transparency=(9, 8, 7)), SETTINGS)
    assert pixels.tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_grey_and_grey_with_alpha() -> None:
    grey = PIL.Image.fromarray(PHOTO).convert("L")
    expected = np.asarray(grey.convert("RGB"))
    assert np.array_equal(decode(saved(grey, "PNG"), SETTINGS), expected)
    assert close(decode(saved(grey, "JPEG", quality=98, subsampling=0), SETTINGS), expected, 3)
    la = PIL.Image.merge("LA", (grey, PIL.Image.new("L", grey.size, 0)))
    assert (decode(saved(la, "PNG"), SETTINGS) == 255).all()
    assert set(np.unique(decode(saved(grey.convert("1"), "PNG"), SETTINGS))) == {0, 255}


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = decode(saved(PIL.Image.fromarray(values), "PNG"), SETTINGS)
    assert np.array_equal(pixels, np.repeat(np.rint(values[..., None] / 257), 3, axis=2))


def test_sixteen_bit_rgb_keeps_its_shades() -> None:
    values = np.linspace(0, 65535, 16 * 16 * 3).astype(">u2").reshape(16, 16, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    pixels = decode(png(16, 16, zlib.compress(rows), bits=16, colour=2), SETTINGS)
    assert np.abs(pixels - values / 257).max() <= 1


def test_grey_values_that_are_no_picture_fail_with_a_reason() -> None:
    for values in (np.full((4, 4), -1, np.int32), np.full((4, 4), 70000, np.int32), np.full((4, 4), np.nan, "f4")):
        with pytest.raises(ImageError, match="grey values of mode"):
            decode(saved(PIL.Image.fromarray(values), "TIFF"), SETTINGS)


def test_float_grey_is_read_as_zero_to_one() -> None:
    values = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    pixels = decode(saved(PIL.Image.fromarray(values), "TIFF"), SETTINGS)
    assert np.array_equal(pixels[..., 0], np.rint(values * 255))


def test_cmyk_jpegs_have_their_colours() -> None:
    image = PIL.Image.fromarray(PHOTO).convert("CMYK")
    assert close(decode(saved(image, "JPEG", quality=98, subsampling=0), SETTINGS), PHOTO, 4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [PIL.Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    pixels = decode(data, SETTINGS)
    assert pixels.shape == (6, 8, 3)
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= (2 if kind in ("AVIF", "MPO") else 0)


@pytest.mark.parametrize("size", [(1, 1), (8, 4096), (4096, 8)])
def test_extreme_shapes_come_through(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(decode(encoded(image), SETTINGS), image)


def test_decoded_pixels_are_a_copy_that_may_be_written() -> None:
    pixels = decode(encoded(PHOTO), SETTINGS)
    pixels[:] = 0
    assert pixels.dtype == np.uint8


# What is refused


def bomb(side: int = 60_000) -> bytes:
    """A PNG of 40 KB that says it is side x side pixels; its first tenth is there, made without unpacking it."""
    row = bytes(1 + side // 8)
    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(row * 100) for _ in range(side // 1000)) + squeeze.flush()
    return png(side, side, rows, bits=1)


def test_a_decompression_bomb_is_refused_at_once_and_unread() -> None:
    data = bomb()
    assert 30_000 < len(data) < 60_000
    start = time.perf_counter()
    with pytest.raises(ImageError, match="too many pixels"):
        decode(data, ImageSettings(max_megapixels=178))
    assert time.perf_counter() - start < 0.2


def test_the_pixel_limit_is_exact_and_says_how_to_raise_it() -> None:
    data = encoded(np.zeros((100, 100, 3), dtype=np.uint8))
    assert decode(data, ImageSettings(max_megapixels=0.01)).shape == (100, 100, 3)
    with pytest.raises(ImageError, match=r"^too many pixels: 100 x 100, over .* 0.0099 .*images.max_megapixels"):
        decode(data, ImageSettings(max_megapixels=0.0099))


def test_the_highest_limit_that_may_be_set_is_one_that_decodes() -> None:
    side = 9_500  # 90 megapixels, over the point where Pillow by itself warns
    rows = zlib.compress(bytes((1 + -(-side // 8)) * side), 1)
    assert decode(png(side, side, rows, bits=1), ImageSettings(max_megapixels=178)).shape == (side, side, 3)


def test_a_text_chunk_bomb_stays_packed_and_costs_no_image() -> None:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(200 << 20), 9))
    data = png(1, 1, zlib.compress(b"\0\0"), text)
    assert len(data) < 300_000
    tracemalloc.start()
    assert decode(data, SETTINGS).shape == (1, 1, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"tEXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"cICP"])
@pytest.mark.parametrize("body", [b"", b"\0", b"k\0\7x", b"k\0\0x\x9c broken", bytes(40), b"\xff" * 40])
def test_no_chunk_beside_the_pixels_costs_an_image(name: bytes, body: bytes) -> None:
    pixels = encoded(PHOTO)
    for extra in (chunk(name, body), chunk(name, body)[:-1] + b"?"):  # and one with a wrong checksum
        data = pixels[:33] + extra + pixels[33:]
        assert np.array_equal(decode(data, SETTINGS), PHOTO) or name in (b"gAMA", b"cICP")


def test_long_chunks_are_read() -> None:
    """Pillow by itself refuses more than 1 MB."""
    long = zlib.compress(b"0123456789" * 300_000)
    for extra in (chunk(b"zTXt", b"workflow\0\0" + long), chunk(b"iCCP", b"big\0\0" + long)):
        assert np.array_equal(decode(encoded(PHOTO)[:33] + extra + encoded(PHOTO)[33:], SETTINGS), PHOTO)


def test_a_chunk_that_claims_4_gb_is_one_line() -> None:
    data = encoded(PHOTO)[:33] + struct.pack(">I4s", 0xFFFFFFFF, b"tEXt") + encoded(PHOTO)[33:]
    with pytest.raises(
        ImageError, match=r"^ValueError: PNG chunk b'tEXt' at byte 33 claims 4294967295 bytes, \d+ are"
    ):
        decode(data, SETTINGS)
    behind = encoded(PHOTO)[:-12] + struct.pack(">I4s", 0xFFFFFFFF, b"tEXt") + b"text"
    assert np.array_equal(decode(behind, SETTINGS), PHOTO)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.png", encoded(PHOTO))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\0", "not an image"),
        (b"garbage" * 100, r"not an image \(begins with b'garbageg'\)"),
        (zipped(), "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"%PDF-1.4", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "PNG image, damaged"),
        (encoded(PHOTO)[:40], "PNG|truncated|SyntaxError|OSError"),
        (b"\xff\xd8\xff\xe0", "JPEG image, damaged"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data, SETTINGS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused_and_never_half_a_picture(kind: str, share: float) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * share)], SETTINGS)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400))
@example(b"BM" + bytes(60))
@example(b"II*\0\x08\0\0\0")
def test_any_bytes_are_an_image_or_an_image_error(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        assert decode(data, SETTINGS).ndim == 3


SEEDS = [encoded(PHOTO, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF")]


@settings(max_examples=250, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
)
def test_changed_images_are_read_or_refused(seed: bytes, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(seed)
    for place, new in edits:
        data[place : place + len(new)] = new
    with contextlib.suppress(ImageError):
        pixels = decode(bytes(data), ImageSettings(max_megapixels=1))
        assert (pixels.dtype, pixels.shape[2]) == (np.uint8, 3)


# JPEGs without their last bytes


def big_jpeg(**options: object) -> bytes:
    return encoded(photo(size=320), "JPEG", quality=90, **options)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("cut", [1, 2, 3, 20, 0.01, 0.02])
def test_a_jpeg_that_lacks_its_tail_is_read_and_says_so(options: dict[str, object], cut: float) -> None:
    data = big_jpeg(**options)
    short = data[: -int(cut) if cut >= 1 else int(len(data) * (1 - cut))]
    pixels, lost = read(short, SETTINGS)
    whole = decode(data, SETTINGS)
    assert lost == ("tail",)
    assert (pixels != whole).any(axis=-1).mean() < 0.06
    assert np.array_equal(pixels[:200], whole[:200]) or "progressive" in options
    assert read(data, SETTINGS).lost == ()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, 0.6, 0.8, 0.85])
def test_a_jpeg_that_lacks_more_fails(options: dict[str, object], share: float) -> None:
    data = big_jpeg(**options)
    with pytest.raises(ImageError):
        decode(data[: int(len(data) * share)], SETTINGS)


def test_a_progressive_jpeg_without_its_last_scans_fails() -> None:
    data = big_jpeg(progressive=True)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xda", first + 2)
    with pytest.raises(ImageError):
        decode(data[:second], SETTINGS)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_tail_may_lack_in_every_mode(mode: str) -> None:
    data = saved(PIL.Image.fromarray(photo(size=320)).convert(mode), "JPEG", quality=90)
    assert read(data[:-10], SETTINGS).lost == ("tail",)


def test_the_tail_of_a_turned_jpeg_is_below_where_it_was_stored() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = big_jpeg(exif=exif)
    pixels, lost = read(data[: int(len(data) * 0.99)], SETTINGS)
    assert lost == ("tail",)
    assert np.array_equal(pixels[:, 80:], decode(data, SETTINGS)[:, 80:])


# The format by its bytes


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "JPEG2000", "AVIF", "MPO"])
def test_the_format_is_told_by_its_first_bytes(kind: str) -> None:
    named = image_format(encoded(PHOTO, kind)[:SIGNATURE_BYTES])
    assert named is not None
    assert named.replace(" ", "").upper() == kind.replace("MPO", "JPEG")


@pytest.mark.parametrize("head", [b"", b"RIFF\0\0\0\0WAVE", b"RIFF", b"BM123456", zipped()[:12], b"\x80\x04\x95"])
def test_other_bytes_have_no_format(head: bytes) -> None:
    assert image_format(head) is None
