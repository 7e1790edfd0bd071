"""Formats that need an extra: named where it is missing, read where it is there."""

from __future__ import annotations

import base64
import sys

import numpy as np
import pytest

from qrefine.config import ImageSettings
from qrefine.corpus.formats import pillow_formats
from qrefine.corpus.images import ImageError, decode
from qrefine.corpus.jxl import jxl_size
from tests.support import encoded, photo

# 24 x 16 pixels: red grows by 10 to the right, green by 15 downwards; made with libheif and libjxl
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9j"
    "AAAAAERAAAEAAQAAAAABoAABAAAAAAAAAQgAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/Gl"
    "wcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3"
    "AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAA"
    "ABAAAAAQAAAAChjbGFwAAAAGAAAAAEAAAAQAAAAAf///9gAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQAB"
    "BYECAwWEAAABEG1kYXQAAAEEKAGvBjIfO9VQiQEgKC1/PN17nepwPSO6f8E+38bnu1mUZX6je4jTO3/OL+CekONGXI7PjDJnaj8ZR8dzI1l"
    "b8ecJWJPP9dq3OLVccv+U1IzGN/+v4I/dD+htdPYFgTHBZyOevDf08FfKtLVsYv7IW/qnmkijN2fbGwfz1WAAPFO8JGbsTIcxKBuXqOjEtD"
    "scuRnGVpONVGOdjnYzPx1bmx5/8zELQyjyXJFJdEs/QPO9fgZI0axHEQf+2EOo/v0y5f4gBvDWMNsP3US1ZYL33ecQTXTBsefVu+imJ/xn5"
    "sUEFJSND5GoZZvn6HgLYULmpG977ZKG+FCVhfN+e/1M4g1pdbg="
)
JXL = base64.b64decode(
    "/woDQSQIAAEA9ABLKLFxMQ9XhVkSEkoCIkZMxIwxN6TwhLTjXAgABhACCACcS/nBL/35/2RC+q+Q+f+33HFkzBf3+eEd9qAG"
)
BOXED = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl " + b"\0\0\0\x50jxlc" + JXL
EXPECTED = np.dstack(
    [np.tile(np.arange(24) * 10, (16, 1)), np.tile(np.arange(16)[:, None] * 15, (1, 24)), np.zeros((16, 24))]
)


@pytest.mark.parametrize(
    ("data", "plugin", "most"), [(HEIC, "pi_heif", 12), (JXL, "pillow_jxl", 0), (BOXED, "pillow_jxl", 0)]
)
def test_they_are_read_with_their_plugin(data: bytes, plugin: str, most: int) -> None:
    pytest.importorskip(plugin)
    pixels = decode(data, ImageSettings())
    assert pixels.shape == EXPECTED.shape
    assert np.abs(pixels - EXPECTED).max() <= most
    with pytest.raises(ImageError, match="too many pixels: 24 x 16"):
        decode(data, ImageSettings(max_megapixels=0.0001))
    with pytest.raises(ImageError):
        decode(data[: len(data) // 2], ImageSettings())


@pytest.mark.parametrize(
    ("data", "line"), [(HEIC, "HEIC image: install qrefine[heic]"), (BOXED, "JPEG XL image: install qrefine[jxl]")]
)
def test_without_its_plugin_a_format_is_one_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, data: bytes, line: str
) -> None:
    for plugin in ("pi_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, plugin, None)
    pillow_formats.cache_clear()
    request.addfinalizer(pillow_formats.cache_clear)
    with pytest.raises(ImageError) as raised:
        decode(data, ImageSettings())
    assert str(raised.value) == f"{line} to read it"


def test_avif_under_a_general_brand_needs_no_plugin() -> None:
    data = encoded(photo(size=32), "AVIF", quality=98)
    general = data[:8] + b"mif1" + data[12:]
    assert np.array_equal(decode(general, ImageSettings()), decode(data, ImageSettings()))


def bits(*fields: tuple[int, int]) -> bytes:
    """A code stream's beginning of fields of so many bits, the lowest first."""
    value = place = 0
    for count, field in fields:
        value |= field << place
        place += count
    return b"\xff\x0a" + value.to_bytes(16, "little")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (JXL, (24, 16)),
        (BOXED, (24, 16)),
        (BOXED[:32] + b"\0\0\0\x10jxlp\0\0\0\0" + JXL, (24, 16)),
        (bits((1, 1), (5, 3), (3, 1)), (32, 32)),
        (bits((1, 1), (5, 3), (3, 0), (5, 7)), (64, 32)),
        (bits((1, 0), (2, 3), (30, (1 << 30) - 1), (3, 7)), (2 << 30, 1 << 30)),
        (bits((1, 0), (2, 1), (13, 1079), (3, 5)), (1920, 1080)),
        (b"", None),
        (b"\0\0\0\x0cJXL \r\n\x87\n", None),
    ],
)
def test_the_size_of_a_jpeg_xl_image_stands_in_its_header(data: bytes, size: tuple[int, int] | None) -> None:
    assert jxl_size(data) == size
