"""Screens and codes: toy bricks, tubes, lamps, letters, matrix codes, consoles, windows."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw

from training.looks.base import Image, colour, crop, ink, look, paper, plane, resized, to_uint8
from training.looks.lettering import bitmap_font, font, line, word
from training.looks.pixels import enlarged, shaded


@look(photo=True)
def bricks_with_studs(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Toy bricks: each pixel a plate with a stud, light from above left."""
    pitch = int(rng.integers(8, 22))
    n = -(-size // pitch)
    small = (
        PIL.fromarray(resized(crop(photo, size, rng), n, PIL.Resampling.BOX))
        .quantize(int(rng.integers(4, 20)))
        .convert("RGB")
    )
    flat = enlarged(np.asarray(small), pitch, size).astype(np.float32)
    y, x = (v % pitch - pitch / 2 + 0.5 for v in plane(size))
    d, radius = np.hypot(y, x), pitch * 0.3
    rim = np.clip(1.2 - np.abs(d - radius), 0, 1) * (-(y + x) / (radius * 1.4))
    edge = ((y < -pitch / 2 + 1) | (x < -pitch / 2 + 1)) * 0.12 - ((y > pitch / 2 - 1) | (x > pitch / 2 - 1)) * 0.2
    return to_uint8(flat * (1 + 0.3 * rim + edge)[..., None] + 12 * (d < radius)[..., None])


@look(photo=True)
def crt_screen(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A tube's picture: scan lines and a slot mask or stripes of red, green and blue, evenly."""
    pitch = int(rng.integers(2, 5))
    image = crop(photo, size, rng).astype(np.float32)
    if rng.random() < 0.5:
        scale = int(rng.integers(2, 5))
        image = enlarged(resized(to_uint8(image), -(-size // scale), PIL.Resampling.BOX), scale, size).astype(
            np.float32
        )
    y, x = (v.astype(int) for v in plane(size))
    low = rng.uniform(0.3, 0.8)
    lines = (
        np.where(y % pitch == 0, low, 1.0)
        if rng.random() < 0.5
        else low + (1 - low) * np.sin(math.pi * (y + 0.5) / pitch) ** 2
    )
    mask = np.ones((size, size, 3), np.float32)
    if rng.random() < 0.6:
        phase = (x + (y // (2 * pitch) % 2 if rng.random() < 0.5 else 0)) % 3
        for channel in range(3):
            mask[..., channel] = np.where(phase == channel, 1.0, rng.uniform(0.4, 0.8))
    return to_uint8(image * lines[..., None] * mask * 1.25)


@look(photo=True)
def scan_lines(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Dark or light lines every 2 to 8 px over a picture, horizontal, upright or slanted; a grid."""
    image, pitch = crop(photo, size, rng).astype(np.float32), int(rng.integers(2, 9))
    y, x = (v.astype(int) for v in plane(size))
    axis = [y, x, x + y][int(rng.choice([0, 0, 1, 2]))]
    width = int(rng.integers(1, pitch // 2 + 1))
    on = axis % pitch < width
    if rng.random() < 0.2:
        on |= x % pitch < width
    strength = rng.uniform(0.15, 0.7)
    target = np.array(colour(rng, 0, 1) if rng.random() < 0.3 else (0, 0, 0))
    return to_uint8(np.where(on[..., None], image * (1 - strength) + strength * target, image))


@look(photo=True, held_out=True, marks=True)
def led_wall(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A wall of round lamps on black."""
    pitch = int(rng.integers(4, 12))
    small = resized(crop(photo, size, rng), -(-size // pitch), PIL.Resampling.BOX)
    image = enlarged(small, pitch, size).astype(np.float32)
    y, x = (v % pitch - pitch / 2 + 0.5 for v in plane(size))
    radius = pitch * rng.uniform(0.28, 0.45)
    share = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return to_uint8(image * share[..., None] * 1.2 + np.array(colour(rng, 0, 0.12)))


@look(photo=True)
def letters_as_pixels(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A picture written in letters, light ones and dense ones; green, amber, black on white or in colour."""
    face, (w, h) = bitmap_font(), (6, 11)
    image = crop(photo, size, rng)
    small = np.asarray(PIL.fromarray(image).resize((-(-size // w), -(-size // h)), PIL.Resampling.BOX))
    glyphs = " .:-=+*#%@" if rng.random() < 0.6 else " 1/i7xE8B"
    dark = rng.random() < 0.7
    tone = small.mean(-1) / 255 if dark else 1 - small.mean(-1) / 255
    page = PIL.new("L", (small.shape[1] * w, small.shape[0] * h), 0)
    pen = ImageDraw.Draw(page)
    for i, row in enumerate(np.minimum((tone * len(glyphs)).astype(int), len(glyphs) - 1)):
        for j, k in enumerate(row):
            if k:
                pen.text((j * w, i * h - 1), glyphs[k], fill=255, font=face)
    share = (np.asarray(page)[:size, :size] / 255)[..., None]
    tint = (
        np.repeat(np.repeat(small, h, 0), w, 1)[:size, :size] * 1.3
        if rng.random() < 0.3
        else np.array(colour(rng, 0.7) if dark else ink(rng))
    )
    base = np.array((8, 10, 8) if dark else paper(rng))
    return to_uint8(base * (1 - share) + tint * share)


@look()
def code_squares(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Matrix codes with finders, and bar codes with digits."""
    flat = paper(rng) if rng.random() < 0.6 else (255, 255, 255)
    made, dark = np.empty((size, size, 3), np.uint8), ink(rng)
    made[:] = flat
    for _ in range(int(rng.integers(1, 4))):
        module = int(rng.integers(2, 9))
        if rng.random() < 0.65:
            n = int(rng.choice([21, 25, 29, 33]))
            bits = rng.random((n, n)) < 0.5
            finder = np.pad(np.pad(np.ones((3, 3), bool), 1), 1, constant_values=True)
            for y, x in ((0, 0), (0, n - 7), (n - 7, 0)):
                bits[max(0, y - 1) : y + 8, max(0, x - 1) : x + 8] = False
                bits[y : y + 7, x : x + 7] = finder
        else:
            bars = np.repeat(np.arange(60) % 2 == 0, rng.integers(1, 5, 60))
            bits = np.repeat(bars[None], int(rng.integers(15, 40)), 0)
        block = np.kron(bits, np.ones((module, module), bool))[:size, :size]
        top, left = (int(rng.integers(-(d // 4), max(1, size - d // 2))) for d in block.shape)
        y0, x0 = max(0, top), max(0, left)
        part = block[y0 - top :, x0 - left :][: size - y0, : size - x0]
        area = made[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
        area[:] = flat
        area[part] = dark
    return made


@look()
def terminal(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A text console: coloured words in a bitmap font, at 1 to 3 times."""
    scale = int(rng.choice([1, 1, 2, 3]))
    n = -(-size // scale)
    page = PIL.new("RGB", (n, n), [(0, 0, 0), (12, 12, 24), (0, 0, 170), (253, 246, 227)][int(rng.integers(4))])
    pen, face = ImageDraw.Draw(page), bitmap_font()
    dark = sum(page.getpixel((0, 0))) < 400  # type: ignore[arg-type]
    colours = [colour(rng, 0.6, 1) if dark else colour(rng, 0, 0.5) for _ in range(4)]
    for y in range(int(rng.integers(0, 6)), n, int(rng.integers(10, 15))):
        x = int(rng.choice([2, 2, 2, 26, 50]))
        for _ in range(int(rng.integers(0, 9))):
            text = word(rng, 3 if rng.random() < 0.15 else 0)
            pen.text((x, y), text, fill=colours[int(rng.choice([0, 0, 0, 1, 2, 3]))], font=face)
            x += 6 * (len(text) + 1)
    return enlarged(np.asarray(page), scale, size)


@look(held_out=True)
def screenshot(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A window of a program: title, buttons, lists, text fields, scroll bars."""
    dark = rng.random() < 0.35
    back, front = (colour(rng, 0.1, 0.2), (225, 225, 230)) if dark else (paper(rng), (30, 30, 35))
    accent = colour(rng, 0.5, 0.9)
    page = PIL.new("RGB", (size, size), back)
    pen, pixels = ImageDraw.Draw(page), int(rng.integers(9, 15))
    face = font(rng, pixels)
    pen.rectangle((0, 0, size, pixels + 10), fill=accent)
    pen.text((8, 4), line(rng, 2), fill=(255, 255, 255), font=face)
    x, y, wide = 8, pixels + 18, int(rng.integers(60, 140))
    while y < size:
        kind = rng.integers(5)
        if kind == 0:
            pen.rounded_rectangle(
                (x, y, x + wide, y + pixels + 8), 4, fill=accent if rng.random() < 0.4 else None, outline=front
            )
            pen.text((x + 6, y + 3), word(rng), fill=front, font=face)
        elif kind == 1:
            pen.rectangle((x, y, x + 10, y + 10), outline=front)
            pen.text((x + 16, y - 2), line(rng, 3), fill=front, font=face)
        elif kind == 2:
            pen.text((x, y), line(rng, int(rng.integers(3, 8))), fill=front, font=face)
        elif kind == 3:
            pen.line((0, y, size, y), fill=shaded(back, 0.85))
        else:
            pen.ellipse((x, y, x + pixels * 2, y + pixels * 2), fill=colour(rng))
            pen.text((x + pixels * 2 + 6, y), line(rng, 4), fill=front, font=face)
            y += pixels
        y += pixels + int(rng.integers(6, 16))
    pen.rectangle((size - 8, 0, size, size), fill=shaded(back, 0.9))
    pen.rectangle((size - 7, size // 4, size - 1, size // 2), fill=shaded(back, 0.7))
    return np.asarray(page)
