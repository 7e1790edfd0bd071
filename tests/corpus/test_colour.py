"""Colours are what their profiles say; what models made of them goes back into the same space."""

from __future__ import annotations

import io
import struct

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from qrefine.config import ImageSettings
from qrefine.corpus import png
from qrefine.corpus.colour import Space, space_of
from qrefine.corpus.encode import FADE, put_back
from qrefine.corpus.icc import SRGB, SRGB_CURVE, grey_profile, rgb_profile
from qrefine.corpus.images import Planes, decode
from qrefine.corpus.metadata import Metadata
from tests.corpus.printer import cmyk_profile
from tests.support import encoded, photo

WHITE = SRGB[:2]
P3 = (*WHITE, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SPACES = {
    "display p3": (P3, SRGB_CURVE),
    "adobe rgb": ((*WHITE, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (2.19921875,)),
    "prophoto": ((0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), (1.8,)),
    "rec 2020": ((*WHITE, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046), (2.4,)),
}
SETTINGS = ImageSettings()
PHOTO = photo(size=64)


def matrix(xy: tuple[float, ...]) -> np.ndarray:
    """Linear RGB to XYZ, by the textbook."""
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in zip(xy[::2], xy[1::2], strict=True))
    columns = np.stack(primaries, axis=1)
    return columns * np.linalg.solve(columns, white)


def linear(values: np.ndarray, curve: tuple[float, ...]) -> np.ndarray:
    if len(curve) == 1:
        return values ** curve[0]
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_of(pixels: np.ndarray, xy: tuple[float, ...], curve: tuple[float, ...]) -> np.ndarray:
    """sRGB by floats, for spaces with sRGB's own white."""
    light = linear(pixels / 255, curve) @ (np.linalg.inv(matrix(SRGB)) @ matrix(xy)).T
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", ["display p3", "adobe rgb", "rec 2020"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_models_see_what_the_profile_says(name: str, kind: str) -> None:
    data = encoded(PHOTO, kind, icc_profile=rgb_profile(*SPACES[name]))
    off = np.abs(decode(data, SETTINGS) - srgb_of(PHOTO, *SPACES[name]))
    assert off.max() <= 3
    assert off.mean() < 0.6


def test_white_is_white_in_a_space_with_another_white() -> None:
    data = encoded(np.full((2, 2, 3), 255, np.uint8), icc_profile=rgb_profile(*SPACES["prophoto"]))
    assert np.abs(decode(data, SETTINGS).astype(int) - 255).max() <= 1


@pytest.mark.parametrize("kind", ["L", "LA"])
def test_grey_with_a_profile(kind: str) -> None:
    data = encoded_as(PIL.Image.fromarray(PHOTO).convert(kind), icc_profile=grey_profile((1.8,)))
    grey = np.asarray(PIL.Image.fromarray(PHOTO).convert("L"))
    expected = 255 * np.interp(
        (grey / 255) ** 1.8, linear(np.linspace(0, 1, 4096), SRGB_CURVE), np.linspace(0, 1, 4096)
    )
    assert np.abs(decode(data, SETTINGS) - expected[..., None]).max() <= 2


def test_lab_is_read() -> None:
    lab = ImageCms.profileToProfile(
        PIL.Image.fromarray(PHOTO), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    off = np.abs(decode(encoded_as(lab, "TIFF"), SETTINGS).astype(int) - PHOTO)
    assert off.mean() < 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        lambda: rgb_profile(SRGB, SRGB_CURVE),
    ],
)
def test_pixels_of_a_profile_that_is_srgb_are_taken_as_they_are(make) -> None:  # type: ignore[no-untyped-def]
    assert np.array_equal(decode(encoded(PHOTO, icc_profile=make()), SETTINGS), PHOTO)


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"junk",
        rgb_profile(P3, SRGB_CURVE)[:200],
        grey_profile((2.2,)),
        rgb_profile(P3, SRGB_CURVE) + b"x" * (9 << 20),
    ],
)
def test_a_profile_that_cannot_be_used_counts_as_srgb(profile: bytes) -> None:
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(PHOTO, kind, icc_profile=profile), SETTINGS), PHOTO)


@settings(max_examples=100, deadline=None)
@given(edits=st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4))
def test_any_profile_is_used_or_not(edits: list[tuple[int, bytes]]) -> None:
    profile = bytearray(rgb_profile(P3, SRGB_CURVE))
    for place, new in edits:
        profile[place : place + len(new)] = new
    assert decode(encoded(PHOTO, icc_profile=bytes(profile)), SETTINGS).shape == PHOTO.shape


def chunked(**chunks: bytes) -> bytes:
    return png.join(encoded(PHOTO), [png.Chunk(name.encode(), body) for name, body in chunks.items()])


def chromaticities(xy: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for value in xy))


def test_a_png_may_say_its_space_in_numbers() -> None:
    gamma = struct.pack(">I", 45470)
    data = chunked(gAMA=gamma, cHRM=chromaticities(SPACES["adobe rgb"][0]))
    assert np.abs(decode(data, SETTINGS) - srgb_of(PHOTO, SPACES["adobe rgb"][0], (1 / 0.4547,))).max() <= 3
    linear_light = chunked(gAMA=struct.pack(">I", 100_000))
    assert np.abs(decode(linear_light, SETTINGS) - srgb_of(PHOTO, SRGB, (1.0,))).max() <= 3
    p3 = chunked(cICP=bytes([12, 13, 0, 1]), gAMA=struct.pack(">I", 100_000))
    assert np.abs(decode(p3, SETTINGS) - srgb_of(PHOTO, P3, SRGB_CURVE)).max() <= 3


def test_avif_says_its_space_by_the_same_numbers() -> None:
    data = encoded(PHOTO, "AVIF", quality=100, subsampling="4:4:4")
    place = data.index(b"colrnclx") + 8
    wide = data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :]
    expected = srgb_of(decode(data, SETTINGS), P3, SRGB_CURVE)
    assert np.abs(decode(wide, SETTINGS) - expected).max() <= 3


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": struct.pack(">I", 45455)},
        {"gAMA": struct.pack(">I", 45455), "cHRM": chromaticities(SRGB)},
        {"sRGB": b"\0", "gAMA": struct.pack(">I", 100_000)},
        {"cICP": bytes([1, 13, 0, 1])},
        {"cICP": bytes([9, 16, 0, 1])},  # HDR: its curve has no meaning in 8 bits of sRGB
        {"gAMA": bytes(4)},
        {"gAMA": struct.pack(">I", 100_000), "cHRM": bytes(32)},
        {"gAMA": struct.pack(">I", 100_000), "cHRM": struct.pack(">8I", *[33_333] * 8)},
        {"cHRM": chromaticities(P3)},
    ],
)
def test_what_a_png_says_of_srgb_or_without_sense_changes_nothing(chunks: dict[str, bytes]) -> None:
    assert np.array_equal(decode(chunked(**chunks), SETTINGS), PHOTO)


# Back into the source's space

KINDS = st.sampled_from(["srgb", "display p3", "grey", "grey 1.8", "cmyk", "press", "lab"])


def space(kind: str) -> Space:
    if kind in SPACES:
        return space_of("RGB", Metadata(icc=rgb_profile(*SPACES[kind])))
    if kind == "grey 1.8":
        return space_of("L", Metadata(icc=grey_profile((1.8,))))
    if kind == "press":
        return space_of("CMYK", Metadata(icc=cmyk_profile()))
    return space_of({"srgb": "RGB", "grey": "L", "cmyk": "CMYK", "lab": "LAB"}[kind], Metadata())


@settings(max_examples=120, deadline=None)
@given(
    kind=KINDS,
    deep=st.booleans(),
    alpha=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(-300, 300),
)
def test_untouched_pixels_and_unseen_ones_keep_their_exact_values(
    kind: str, deep: bool, alpha: bool, seed: int, size: int
) -> None:
    rng = np.random.default_rng(seed)
    own = space(kind)
    channels = {"L": 1, "CMYK": 4}.get(own.mode, 3)
    most, kept = (65536, np.uint16) if deep else (256, np.uint8)
    colour = rng.integers(0, most, (9, 7, channels)).astype(kept)
    cover = rng.choice([0, 1, most // 3, most - 1], (9, 7)).astype(kept) if alpha else None
    planes = Planes(colour if cover is None else np.dstack((colour, cover)), own)
    seen = planes.seen()
    mask = rng.random((9, 7)) < 0.4
    refined = np.where(mask[..., None], np.clip(seen.astype(int) + size, 0, 255), seen).astype(np.uint8)
    changed = (refined != seen).any(axis=-1)
    back = put_back(refined, planes)
    if back is None:
        assert not changed.any() or (cover is not None and (cover[changed] < 129).all())
        return
    assert back.colour.dtype == kept
    assert np.array_equal(back.colour[~changed], colour[~changed])
    if cover is not None:
        assert np.array_equal(back.alpha, cover)  # type: ignore[arg-type]
        assert np.array_equal(back.colour[cover == 0], colour[cover == 0])


@pytest.mark.parametrize(
    ("kind", "most"), [("srgb", 0), ("display p3", 3), ("cmyk", 1), ("press", 24), ("lab", 12)]
)
@pytest.mark.parametrize("deep", [False, True])
def test_what_was_changed_looks_as_it_was_made(kind: str, most: int, deep: bool) -> None:
    own = space(kind)
    colour = own.from_srgb(PHOTO)
    planes = Planes(colour.astype(np.uint16) * 257 if deep else colour, own)
    refined = planes.seen()
    refined[10:40, 10:40] = photo("coffee", 64)[10:40, 10:40]
    back = put_back(refined, planes)
    assert back is not None
    assert np.abs(back.seen().astype(int) - refined).mean() <= most / 4
    assert np.percentile(np.abs(back.seen().astype(int) - refined), 99) <= most


def test_a_colour_that_srgb_lacks_fades_out_with_the_size_of_the_change() -> None:
    red = np.zeros((1, FADE + 2, 3), np.uint8)
    red[..., 0] = 250  # of Display P3: sRGB shows it as its own brightest red
    planes = Planes(red, space("display p3"))
    refined = planes.seen()
    refined[..., 0] -= np.arange(FADE + 2, dtype=np.uint8)
    back = put_back(refined, planes)
    assert back is not None
    assert back.colour[0, 0].tolist() == [250, 0, 0]
    greens = back.colour[0, :, 1].astype(int)
    assert (np.diff(greens) >= 0).all()
    assert np.diff(greens).max() <= 5  # no step, so no seam
    assert np.array_equal(back.colour[0, -1], planes.space.from_srgb(refined[:, -1:])[0, 0])


def test_under_half_transparency_the_colour_moves_twice_as_far() -> None:
    covers = np.array([[255, 128, 0]], np.uint8)
    planes = Planes(np.dstack((np.full((1, 3, 3), 100, np.uint8), covers)), Space("RGB"))
    back = put_back(planes.seen() - np.uint8(20), planes)
    assert back is not None
    assert back.colour[0, :, 0].tolist() == [80, 60, 100]


def encoded_as(image: PIL.Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
