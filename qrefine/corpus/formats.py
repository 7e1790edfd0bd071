"""Image formats: recognised by the first bytes, never by the name; read by Pillow, and some by its plugins."""

from __future__ import annotations

import importlib
from functools import cache

SUFFIXES = frozenset(
    {
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "webp", "bmp", "gif", "tif", "tiff"),
        *("jp2", "j2k", "j2c", "jpc", "jpx", "avif", "heic", "heif", "jxl"),
    }
)
SIGNATURE_BYTES = 12
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",  # of more than 4 GB, or so that it might be
    b"MM\x00+": "TIFF",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
}
_BRANDS = {  # of an ISO media file, at byte 8
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
_PILLOW = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF")
_PLUGINS = {"HEIC": ("pi_heif", "HEIF", "heic"), "JPEG XL": ("pillow_jxl", "JXL", "jxl")}


def image_format(head: bytes) -> str | None:
    """The format that the first SIGNATURE_BYTES match, or None. BMP is left out: two letters prove too little."""
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else None
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    return next((name for mark, name in _SIGNATURES.items() if head.startswith(mark)), None)


@cache
def pillow_formats() -> tuple[str, ...]:
    """The formats that Pillow may try, by its names for them; with those of the plugins that are installed."""
    return (*_PILLOW, *(name for plugin, name, _ in _PLUGINS.values() if _registered(plugin)))


def missing_plugin(format_: str | None) -> str | None:
    """The extra that a format needs and that is not installed."""
    plugin = _PLUGINS.get(format_ or "")
    return plugin[2] if plugin and plugin[1] not in pillow_formats() else None


def _registered(plugin: str) -> bool:
    try:
        module = importlib.import_module(plugin)
    except ImportError:
        return False
    if plugin == "pi_heif":  # the other one registers itself
        module.register_heif_opener()
    return True
