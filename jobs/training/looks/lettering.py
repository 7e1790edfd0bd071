"""Fonts that are at hand, and made-up words in several scripts."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import ImageFont

FILES = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono.ttf",
    "LiberationSans-Regular.ttf", "LiberationSerif-Italic.ttf", "FreeSerif.ttf", "NotoSans-Regular.ttf",
)  # fmt: skip
"""Asked for by name; one that is missing is replaced by Pillow's own font."""


@lru_cache(maxsize=256)
def _load(name: str, pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(name, pixels)
    except OSError:
        return ImageFont.load_default(pixels)


def font(rng: np.random.Generator, pixels: int, script: int = 0) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Any of the fonts, or Pillow's own; for a ``script`` other than Latin one of those that have its letters."""
    number = int(rng.integers(len(FILES) + 3))
    if script:
        number %= 5
    return _load(FILES[number] if number < len(FILES) else "", pixels)


@lru_cache(maxsize=1)
def has_scripts() -> bool:
    """Whether a font with Cyrillic and Greek letters is at hand; Pillow's own has Latin alone."""
    return isinstance(_load(FILES[0], 16), ImageFont.FreeTypeFont) and "DejaVu" in str(
        _load(FILES[0], 16).getname()[0]
    )


@lru_cache(maxsize=1)
def bitmap_font() -> ImageFont.ImageFont:
    """Pillow's small bitmap font: hard pixels."""
    return (
        ImageFont.load_default_imagefont()
        if hasattr(ImageFont, "load_default_imagefont")
        else ImageFont.load_default()
    )


_LATIN = (
    "a",
    "e",
    "i",
    "o",
    "u",
    "th",
    "st",
    "r",
    "l",
    "n",
    "m",
    "d",
    "c",
    "p",
    "s",
    "t",
    "g",
    "b",
    "v",
    "k",
    "y",
    "er",
    "ing",
)
_OTHER = ("абвгдежзиклмнопрстуфхцчшыэюя", "αβγδεζηθικλμνξοπρστυφχψω")


def word(rng: np.random.Generator, script: int = 0) -> str:
    """A made-up word: 0 Latin, 1 Cyrillic, 2 Greek, 3 a number."""
    length = int(rng.integers(1, 6))
    if script == 3:
        return str(round(float(10 ** rng.uniform(0, 5)), int(rng.integers(0, 3))))
    if script in (1, 2) and has_scripts():
        letters = _OTHER[script - 1]
        return "".join(letters[int(i)] for i in rng.integers(0, len(letters), length + 2))
    text = "".join(_LATIN[int(i)] for i in rng.integers(0, len(_LATIN), length + 1))
    return text.capitalize() if rng.random() < 0.2 else text


def line(rng: np.random.Generator, words: int, script: int = 0) -> str:
    """Words, with a mark at the end now and then."""
    return " ".join(word(rng, script) for _ in range(words)) + (". " if rng.random() < 0.3 else " ")
