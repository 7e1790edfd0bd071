"""Image files that are written: pixels come back, and a refined image has its source's form and words."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from PIL import ImageCms

from qrefine.config import ImageSettings
from qrefine.corpus import png
from qrefine.corpus.carry import upright_exif, with_entry
from qrefine.corpus.colour import Space
from qrefine.corpus.encode import Encoded, encode, encode_as, encode_refined
from qrefine.corpus.icc import SRGB, SRGB_CURVE, grey_profile, rgb_profile
from qrefine.corpus.images import decode, eight_bits, opened
from qrefine.corpus.metadata import read_metadata
from qrefine.sample import LOSSES
from tests.corpus.printer import cmyk_profile
from tests.support import encoded, photo

PHOTO = photo(size=96)[:, :80]
P3 = rgb_profile((*SRGB[:2], 0.68, 0.32, 0.265, 0.69, 0.15, 0.06), SRGB_CURVE)
CHANGES = {"software": "qrefine 1.2.3", "stages": "inpaint", "config": "0123abcd"}
SETTINGS = ImageSettings()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="uuid:7" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
DESCRIPTION = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
FORMATS = ["png", "webp", "jpeg"]


def settings_of(kind: str, quality: int = 100) -> ImageSettings:
    return ImageSettings(format=kind, quality=quality)  # type: ignore[arg-type]


def saved(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refine(source: bytes, kind: str = "png") -> tuple[Encoded, np.ndarray, np.ndarray]:
    """The file, what the source shows, and what it should show now: darker in a rectangle."""
    seen = decode(source, SETTINGS)
    refined = seen.copy()
    refined[20:50, 10:76] //= 2
    made = encode_refined(refined, source, settings_of(kind), CHANGES)
    assert made is not None
    assert set(made.lost) <= set(LOSSES)
    return made, seen, refined


def planes(data: bytes) -> Any:
    with opened(data, SETTINGS) as source:
        return source.planes()


def mode(data: bytes) -> str:
    with PIL.Image.open(io.BytesIO(data)) as image:
        return image.mode


def test_every_loss_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in LOSSES)


# Pixels


@pytest.mark.parametrize(
    ("settings_", "kind", "most"),
    [
        (ImageSettings(), "PNG", 0),
        (ImageSettings(compression=9), "PNG", 0),
        (ImageSettings(format="webp", quality=100), "WEBP", 0),
        (ImageSettings(format="webp"), "WEBP", 6),
        (ImageSettings(format="jpeg"), "JPEG", 4),
    ],
)
def test_pixels_come_back_in_each_format(settings_: ImageSettings, kind: str, most: float) -> None:
    data = encode(PHOTO, settings_)
    assert data == encode(PHOTO.copy(), settings_)
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.mode, image.size) == (kind, "RGB", (80, 96))
    assert np.abs(decode(data, SETTINGS).astype(int) - PHOTO).mean() <= most


@pytest.mark.parametrize("compression", [0, 1, 3, 4, 9])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_pngs_values_come_back(depth: type[np.generic], channels: int, compression: int) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(depth).max + 1, (31, 17, channels)).astype(depth)
    found = planes(encode(values, ImageSettings(compression=compression))).values
    same = [0, -1] if channels == 2 else slice(None)  # deep grey with alpha is read as colour with alpha
    assert np.array_equal(found[..., same], values[..., same])


def cover() -> np.ndarray:
    """Alpha from 0 on the left to 255."""
    return np.tile(np.linspace(0, 255, 80).astype(np.uint8), (96, 1))


def sources() -> dict[str, tuple[bytes, str, tuple[str, ...]]]:
    """Files, the mode that each has as PNG, and what that loses."""
    image, rgba = PIL.Image.fromarray(PHOTO), PIL.Image.fromarray(np.dstack((PHOTO, cover())))
    noise = np.random.default_rng(0).integers(-99, 99, PHOTO.shape)
    deep = np.clip(PHOTO.astype(int) * 257 + noise, 0, 65535).astype(np.uint16)
    wide = png.profile_chunk(P3)
    return {
        "rgb": (saved(image), "RGB", ()),
        "p3": (saved(image, icc_profile=P3), "RGB", ()),
        "p3 jpeg": (saved(image, "JPEG", icc_profile=P3), "RGB", ()),
        "p3 webp": (saved(image, "WEBP", icc_profile=P3), "RGB", ()),
        "p3 avif": (saved(image, "AVIF", icc_profile=P3), "RGB", ()),
        "gamma": (png.join(saved(image), [png.Chunk(b"gAMA", struct.pack(">I", 100_000))]), "RGB", ()),
        "rgba": (saved(rgba), "RGBA", ()),
        "rgba p3": (saved(rgba, icc_profile=P3), "RGBA", ()),
        "rgba webp": (saved(rgba, "WEBP", lossless=True, exact=True), "RGBA", ()),
        "la": (saved(rgba.convert("LA")), "LA", ()),
        "palette": (saved(image.quantize(64)), "RGB", ()),
        "palette with a hole": (saved(image.quantize(64), transparency=3), "RGBA", ()),
        "rgb with a key": (saved(image, transparency=tuple(PHOTO[0, 0].tolist())), "RGBA", ()),
        "grey": (saved(image.convert("L")), "L", ()),
        "grey 1.8": (saved(image.convert("L"), icc_profile=grey_profile((1.8,))), "L", ()),
        "black and white": (saved(image.convert("1")), "L", ()),
        "deep": (png.sixteen_bits(deep, 3), "RGB", ("depth",)),
        "deep p3": (png.join(png.sixteen_bits(deep, 3), [wide]), "RGB", ("depth",)),
        "deep rgba": (png.sixteen_bits(np.dstack((deep, cover() * np.uint16(257))), 3), "RGBA", ("depth",)),
        "deep grey": (png.sixteen_bits(deep[..., :1], 3), "I;16", ("depth",)),
        "deep tiff": (saved(PIL.Image.fromarray(deep[..., 0]), "TIFF"), "I;16", ("depth",)),
        "cmyk": (saved(image.convert("CMYK"), "JPEG"), "RGB", ("cmyk",)),
        "broken profile": (saved(image, icc_profile=b"junk" * 99), "RGB", ("icc",)),
        "profile of another kind": (saved(image, icc_profile=grey_profile((2.2,))), "RGB", ("icc",)),
        "frames": (saved(image, "GIF", save_all=True, append_images=[image.rotate(90)]), "RGB", ("frames",)),
    }


SOURCES = sources()


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_untouched_pixels_are_the_sources_own_in_its_own_space(name: str, kind: str) -> None:
    source, kept_mode, lost = SOURCES[name]
    made, seen, refined = refine(source, kind)
    untouched = (refined == seen).all(axis=-1)
    before, after = planes(source), planes(made.data)
    assert np.array_equal(after.seen()[untouched], seen[untouched])
    covered = np.full(untouched.shape, 255) if before.alpha is None else eight_bits(before.alpha)
    changed = np.abs(after.seen().astype(int) - refined)[~untouched & (covered > 200)]
    assert (changed.max(), changed.mean() < 1) <= (8, True)
    if before.alpha is not None:
        assert np.array_equal(eight_bits(after.alpha), covered)
    if kind == "webp" and before.space.mode == "RGB" and "depth" not in lost:
        assert np.array_equal(before.colour[untouched], after.colour[untouched])
    if kind == "png":
        assert (mode(made.data), made.lost) == (kept_mode, lost)
        assert "cmyk" in lost or np.array_equal(before.colour[untouched], after.colour[untouched])
        assert (after.space.profile, after.space.plain) == (before.space.profile, before.space.plain) or lost


@pytest.mark.parametrize("name", SOURCES)
def test_jpeg_holds_all_but_alpha_and_depth(name: str) -> None:
    source, kept_mode, lost = SOURCES[name]
    made, _, refined = refine(source, "jpeg")
    assert np.abs(decode(made.data, SETTINGS).astype(int) - refined).mean() < 3
    assert set(lost) - {"cmyk"} <= set(made.lost)
    assert ("alpha" in made.lost) == (kept_mode in ("RGBA", "LA"))
    assert mode(made.data) == {"cmyk": "CMYK", "grey": "L", "la": "RGB"}.get(name, mode(made.data))
    assert "cmyk" not in made.lost


def test_fully_transparent_pixels_are_untouched_and_a_change_only_there_is_none() -> None:
    source = SOURCES["rgba"][0]
    refined = decode(source, SETTINGS)
    refined[:, 0] = 7
    assert encode_refined(refined, source, SETTINGS, CHANGES) is None
    refined[:, 79] = 7
    made = encode_refined(refined, source, SETTINGS, CHANGES)
    assert made is not None
    assert np.array_equal(planes(made.data).colour[:, :79], PHOTO[:, :79])


def test_cmyk_goes_back_through_its_profile() -> None:
    press = Space("CMYK", cmyk_profile(), plain=False)
    source = saved(
        PIL.Image.frombytes("CMYK", (80, 96), press.from_srgb(PHOTO).tobytes()), "TIFF", icc_profile=press.profile
    )
    assert np.abs(decode(source, SETTINGS).astype(int) - PHOTO).mean() < 6
    for kind, kept_mode, lost, profile in (("png", "RGB", ("cmyk",), None), ("jpeg", "CMYK", (), press.profile)):
        made, _, refined = refine(source, kind)
        assert (mode(made.data), made.lost, read_metadata(made.data).icc) == (kept_mode, lost, profile)
        assert np.abs(decode(made.data, SETTINGS).astype(int) - refined).mean() < 3


def test_cmyk_with_a_broken_profile_stays_cmyk() -> None:
    source = saved(PIL.Image.fromarray(PHOTO).convert("CMYK"), "JPEG", icc_profile=b"junk")
    made, _, refined = refine(source, "jpeg")
    assert (mode(made.data), made.lost) == ("CMYK", ("icc",))
    assert np.abs(decode(made.data, SETTINGS).astype(int) - refined).mean() < 3


def test_lab_becomes_srgb() -> None:
    lab = ImageCms.profileToProfile(
        PIL.Image.fromarray(PHOTO), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    made, _, refined = refine(saved(lab, "TIFF"))
    assert made.lost == ("lab",)
    assert np.array_equal(decode(made.data, SETTINGS), refined)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_refined_image_is_not_turned_twice(kind: str, orientation: int, source: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a castle"
    made, _, refined = refine(saved(PIL.Image.fromarray(PHOTO), source, exif=exif), kind)
    shown = decode(made.data, SETTINGS)
    assert shown.shape == refined.shape
    assert np.abs(shown.astype(int) - refined).mean() < 2
    with PIL.Image.open(io.BytesIO(made.data)) as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010E] == "a castle"


# Words


@pytest.mark.parametrize("kind", FORMATS)
def test_the_entry_says_what_was_changed_by_what(kind: str) -> None:
    xmp = read_metadata(refine(SOURCES["rgb"][0], kind)[0].data).xmp or b""
    (entry,) = ElementTree.fromstring(xmp.partition(b"?>")[2].rpartition(b"<?")[0]).iter(DESCRIPTION)
    assert {name.rpartition("}")[2]: value for name, value in entry.items()} == CHANGES | {"about": ""}


def test_an_entry_joins_what_is_there_and_replaces_an_older_one() -> None:
    once = with_entry(XMP, {"stages": 'a "b" & <c>'})
    assert once.startswith(XMP[:60])
    assert b'rdf:about="uuid:7" xmlns:qrefine' in once
    twice = with_entry(once, {"stages": "two"})
    assert twice.count(b"xmlns:qrefine") == 1
    assert b'qrefine:stages="two"' in twice


@pytest.mark.parametrize("kind", FORMATS)
def test_exif_and_xmp_go_along(kind: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769)[0x927C] = b"maker's note"
    for source in ("JPEG", "WEBP", "AVIF"):
        made, _, _ = refine(saved(PIL.Image.fromarray(PHOTO), source, exif=exif, xmp=XMP), kind)
        found = read_metadata(made.data)
        assert found.exif == exif.tobytes().removeprefix(b"Exif\0\0")
        assert b'tiff:Orientation="1"' in (found.xmp or b"")
        assert made.lost == ()


def png_with_texts(*more: png.Chunk) -> bytes:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("parameters", "a castle, 城\nSteps: 20")
    info.add_text("prompt", '{"3": {}}')
    info.add_text("workflow", '{"nodes": []}', zip=True)
    info.add_text("Software", "NovelAI")
    return png.join(encoded(PHOTO, pnginfo=info), more)


def test_a_pngs_texts_go_into_the_refined_png_as_they_are() -> None:
    chunks = (
        png.Chunk(b"gAMA", struct.pack(">I", 45455)),
        png.Chunk(b"pHYs", bytes(9)),
        png.Chunk(b"zTXt", b"broken\0\0not packed"),
        png.Chunk(b"prVt", b"private, may be copied"),
        png.Chunk(b"prVT", b"private, may not"),
    )
    made, _, _ = refine(png_with_texts(*chunks))
    texts = read_metadata(made.data).texts
    assert texts == {
        "parameters": "a castle, 城\nSteps: 20",
        "prompt": '{"3": {}}',
        "workflow": '{"nodes": []}',
        "Software": "NovelAI",
    }
    said = png.split(made.data)[1]
    assert [chunk for chunk in chunks if chunk in said] == list(chunks[:4])
    assert made.lost == ()


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_a_pngs_texts_go_where_generators_put_them_in_other_formats(kind: str) -> None:
    made, _, _ = refine(png_with_texts(), kind)
    exif = PIL.Image.Exif()
    exif.load(read_metadata(made.data).exif)
    comment = exif.get_ifd(0x8769)[0x9286]
    assert comment[8:].decode("utf-16-be") == "a castle, 城\nSteps: 20"
    assert (exif[0x0110], exif[0x010F], exif[0x0131]) == ('prompt:{"3": {}}', 'workflow:{"nodes": []}', "NovelAI")
    assert made.lost == ()


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_texts_without_a_place_are_said(kind: str) -> None:
    made, _, _ = refine(png_with_texts(png.text_chunk("Source", "somewhere")), kind)
    assert made.lost == ("text",)
    assert b'qrefine:lost="text"' in (read_metadata(made.data).xmp or b"")


def test_what_is_too_long_for_a_jpeg_is_said() -> None:
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = bytes(70_000)
    xmp = XMP.replace(b"</rdf", b" " * 70_000 + b"</rdf")
    made, _, _ = refine(saved(PIL.Image.fromarray(PHOTO), "WEBP", exif=exif, xmp=xmp), "jpeg")
    assert made.lost == ("exif", "xmp")
    assert b"qrefine:software" in (read_metadata(made.data).xmp or b"")


@pytest.mark.parametrize("xmp", [b"junk", b"<x:xmpmeta>", "<?xpacket?>".encode("utf-16")])
def test_damaged_xmp_is_replaced(xmp: bytes) -> None:
    made, _, _ = refine(saved(PIL.Image.fromarray(PHOTO), "JPEG", xmp=xmp))
    assert made.lost == ("xmp",)


def test_comments_go_along() -> None:
    source = saved(PIL.Image.fromarray(PHOTO), "JPEG", comment="a castle")
    for kind, lost in (("png", ()), ("jpeg", ()), ("webp", ("text",))):
        made, _, _ = refine(source, kind)
        assert made.lost == lost
        assert read_metadata(made.data).texts.get("Comment", "") == ("" if lost else "a castle")


@pytest.mark.parametrize("exif", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"junk" * 9])
def test_damaged_exif_stays_as_it_is(exif: bytes) -> None:
    assert upright_exif(exif) == exif


MANIFEST = b"\0\0\0\x20jumb\0\0\0\x18jumdc2pa\0\x11\0\x10\x80\0\0\xaa\x008\x9bq\x03c2pa\0"


def riff(data: bytes, name: bytes, body: bytes) -> bytes:
    data = data + struct.pack("<4sI", name, len(body)) + body + bytes(len(body) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def signed() -> dict[str, bytes]:
    image = PIL.Image.fromarray(PHOTO)
    jpeg, box = saved(image, "JPEG"), bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    return {
        "png": png.join(encoded(PHOTO), [png.Chunk(b"caBX", MANIFEST)]),
        "png, damaged": png.join(encoded(PHOTO), [png.Chunk(b"caBX", b"?")]),
        "jpeg": jpeg[:2]
        + b"\xff\xeb"
        + struct.pack(">H", 10 + len(MANIFEST))
        + b"JP\0\1\0\0\0\1"
        + MANIFEST
        + jpeg[2:],
        "webp": riff(saved(image, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), b"C2PA", MANIFEST),
        "avif": saved(image, "AVIF") + struct.pack(">I4s", 24 + len(MANIFEST), b"uuid") + box + MANIFEST,
        "tiff": saved(image, "TIFF", tiffinfo={0xCD41: MANIFEST}),
    }


@pytest.mark.parametrize("name", signed())
@pytest.mark.parametrize("kind", FORMATS)
def test_a_c2pa_manifest_is_dropped_and_that_is_said(name: str, kind: str) -> None:
    made, _, _ = refine(signed()[name], kind)
    assert made.lost == ("c2pa",)
    assert b"jumb" not in made.data
    assert b"caBX" not in made.data
    assert b"C2PA" not in made.data


# Another format without a change


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_an_image_in_another_format_has_the_same_pixels(name: str, kind: str) -> None:
    source = SOURCES[name][0]
    made = encode_as(source, settings_of(kind))
    before, after = planes(source), planes(made.data)
    assert np.array_equal(after.seen(), before.seen())
    assert set(made.lost) <= set(LOSSES)
    if kind == "png":
        assert np.array_equal(after.values, before.as_srgb.values if "cmyk" in made.lost else before.values)
        assert "depth" not in made.lost
    assert b"qrefine" not in made.data


@pytest.mark.parametrize("name", SOURCES)
def test_an_image_as_jpeg_looks_the_same(name: str) -> None:
    source, kept_mode, _ = SOURCES[name]
    made = encode_as(source, settings_of("jpeg"))
    assert np.abs(decode(made.data, SETTINGS).astype(int) - decode(source, SETTINGS)).mean() < 3
    assert ("alpha" in made.lost) == (kept_mode in ("RGBA", "LA"))


def test_texts_and_orientation_go_into_another_format() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    source = saved(PIL.Image.fromarray(PHOTO), "JPEG", exif=exif, xmp=XMP, comment="a castle")
    found = read_metadata(encode_as(source, SETTINGS).data)
    assert found.texts == {"Comment": "a castle"}
    assert found.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert np.array_equal(decode(encode_as(source, SETTINGS).data, SETTINGS), decode(source, SETTINGS))
