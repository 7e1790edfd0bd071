"""Drawn by hand: pencil, charcoal, ink, chalk, crayon, handwriting."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Colour,
    Floats,
    Image,
    blurred,
    colour,
    crop,
    fractal,
    grey,
    ink,
    look,
    mix,
    paper,
    smoothstep,
    stretched,
    to_uint8,
)
from training.looks.lettering import font, line, word
from training.looks.pens import Sheet


def edges(photo: Image | None, size: int, rng: np.random.Generator, width: float) -> Floats:
    """Ink lines in [0, 1] where the tone of a picture turns: a difference of two Gaussians."""
    tone = to_uint8(stretched(grey(crop(photo, size, rng)), rng) * 255)
    difference = blurred(tone, width * 1.6).astype(np.float32) - blurred(tone, width)
    return np.clip((difference - rng.uniform(2, 5)) / rng.uniform(3, 12), 0, 1)


@look(photo=True)
def pencil(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Graphite: contours and shading that catches on the grain of the paper."""
    image = crop(photo, size, rng)
    dark = 1 - stretched(grey(image), rng)
    tone = to_uint8((1 - dark) * 255)
    contour = np.clip(np.abs(tone.astype(np.float32) - blurred(tone, rng.uniform(1.5, 4))) / 40, 0, 1)
    tooth = fractal(size, rng.uniform(0.6, 1.0), rng, rng.uniform(1, 5), rng.uniform(0, math.pi))
    shade = np.clip(dark * rng.uniform(0.5, 1) * (1 + rng.uniform(0.1, 0.35) * tooth), 0, 1)
    return to_uint8(mix(np.array(paper(rng)), np.array(ink(rng)), np.clip(np.maximum(shade, contour), 0, 0.95)))


@look(photo=True)
def charcoal(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Broad black on rough paper, white heightening on grey or brown."""
    tone = stretched(grey(crop(photo, size, rng)), rng)
    tooth = 0.2 * fractal(size, rng.uniform(0.7, 1.1), rng, rng.uniform(1, 3), rng.uniform(0, math.pi))
    stock = np.array(paper(rng) if rng.random() < 0.5 else colour(rng, 0.4, 0.7))
    values = mix(stock, np.array([20, 19, 18]), smoothstep(0.0, 0.9, 1 - tone + tooth - 0.15))
    return to_uint8(mix(values, np.array([245, 242, 235]), smoothstep(0.7, 1.3, tone + tooth) * 0.8))


@look(photo=True)
def ink_lines(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Outlines alone, on paper or over flat colour."""
    state = rng.bit_generator.state
    lines = edges(photo, size, rng, rng.uniform(0.8, 1.8))
    page = np.broadcast_to(np.array(paper(rng), np.float32), (size, size, 3))
    if rng.random() < 0.4:
        again = np.random.default_rng(0)
        again.bit_generator.state = state
        image = crop(photo, size, again)
        flat = PIL.fromarray(blurred(image, 3)).quantize(
            int(rng.integers(4, 12)), method=PIL.Quantize.FASTOCTREE, dither=PIL.Dither.NONE
        )
        page = np.asarray(flat.convert("RGB"), np.float32) * 0.6 + 100
    return to_uint8(mix(page, np.array(ink(rng)), lines))


@look(photo=True, held_out=True)
def chalkboard(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Chalk on a wiped board: a sketch, words, sums, arrows."""
    board = (
        np.array([[30, 60, 45], [38, 40, 44], [25, 40, 60]][int(rng.integers(3))])
        + 5 * fractal(size, 1.6, rng, 3)[..., None]
    )
    sheet = Sheet(size, (0, 0, 0), 2)
    for _ in range(int(rng.integers(3, 12))):
        place = tuple((rng.uniform(-0.05, 0.8, 2) * size * 2).tolist())
        kind = rng.integers(3)
        if kind == 0:
            text = f"{word(rng, 3)} + {word(rng, 3)}" if rng.random() < 0.5 else line(rng, 2)
            sheet.pen.text(place, text, font=font(rng, int(rng.integers(24, 80))), fill=(255, 255, 255))
        elif kind == 1:
            sheet.line(rng.uniform(0, size, (int(rng.integers(2, 5)), 2)), (255, 255, 255), rng.uniform(1, 3))
        else:
            x, y = rng.uniform(0, size, 2)
            sheet.disc(x, y, rng.uniform(5, size / 4), None, (255, 255, 255), rng.uniform(1, 2.5))
    mask = sheet.done()[..., 0].astype(np.float32) / 255
    if photo is not None and rng.random() < 0.5:
        mask = np.maximum(mask, edges(photo, size, rng, 1.2) * 0.9)
    powder = np.clip(0.75 + 0.35 * fractal(size, 0.3, rng), 0.1, 1)
    return to_uint8(mix(board, np.array(colour(rng, 0.9)) * 0.3 + 170, mask * powder))


@look(held_out=True)
def childs_drawing(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Wax crayon: a house, a sun, people of sticks, scribbled grass."""
    sheet = Sheet(size, paper(rng), 2)
    wide = rng.uniform(1.5, 4)

    def stroke(points: list[tuple[float, float]], tint: Colour) -> None:
        path = np.repeat(np.array(points, np.float64), 4, 0)[: -3 or None]
        t = np.linspace(0, len(points) - 1, len(points) * 6)
        whole = np.stack([np.interp(t, np.arange(len(points)), np.array(points)[:, i]) for i in range(2)], -1)
        sheet.line(whole + rng.normal(0, 0.9, whole.shape) if len(path) else whole, tint, wide)

    def scribble(x: float, y: float, w: float, h: float, tint: Colour) -> None:
        n = int(max(4, w / wide / 1.3))
        stroke([(x + w * i / n, y + (h if i % 2 else 0)) for i in range(n)], tint)

    base = size * rng.uniform(0.6, 0.85)
    scribble(0, base, size, size * 0.12, (60, 150, 50))
    sx, sy, r = size * rng.uniform(0.1, 0.9), size * 0.15, size * 0.08
    sheet.disc(sx, sy, r, (250, 210, 40))
    for a in np.arange(0, 6.28, 0.6):
        stroke(
            [
                (sx + math.cos(a) * r * 1.2, sy + math.sin(a) * r * 1.2),
                (sx + math.cos(a) * r * 2, sy + math.sin(a) * r * 2),
            ],
            (250, 190, 30),
        )
    for _ in range(int(rng.integers(1, 4))):
        x, w, tint = rng.uniform(0, 0.8) * size, size * rng.uniform(0.15, 0.3), colour(rng)
        if rng.random() < 0.6:
            scribble(x, base - w, w, w, tint)
            stroke(
                [
                    (x, base),
                    (x, base - w),
                    (x + w / 2, base - w * 1.6),
                    (x + w, base - w),
                    (x + w, base),
                    (x, base),
                ],
                colour(rng, 0, 0.4),
            )
        else:
            stroke([(x, base), (x + w / 4, base - w / 2), (x + w / 2, base)], tint)
            stroke([(x + w / 4, base - w / 2), (x + w / 4, base - w)], tint)
            stroke([(x, base - w * 0.8), (x + w / 2, base - w * 0.8)], tint)
            sheet.disc(x + w / 4, base - w * 1.15, w * 0.16, None, tint, wide)
    wax = sheet.done().astype(np.float32)
    gaps = np.clip(fractal(size, 0.3, rng) - 1.1, 0, 1)[..., None]
    return to_uint8(wax + gaps * (250 - wax) * 0.5)


@look()
def scribbles(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Handwriting and doodles in pen on plain, ruled or squared paper."""
    stock = paper(rng)
    sheet, pen = Sheet(size, stock, 3), ink(rng)
    pitch, ruled = rng.uniform(12, 44), rng.integers(3)
    rule: Colour = tuple(int(c * 0.85) for c in stock)
    for y in np.arange(pitch, size, pitch):
        if ruled:
            sheet.line(np.array([(0, y), (size, y)]), rule, 0.5)
        if ruled == 2:
            sheet.line(np.array([(y, 0), (y, size)]), rule, 0.5)
    slant, wide = rng.uniform(-0.2, 0.6), rng.uniform(0.6, 1.4)
    for y in np.arange(pitch, size + pitch, pitch):
        x = rng.uniform(2, 30)
        while x < size * rng.uniform(0.6, 1.1):
            n = int(rng.integers(3, 12))
            t = np.linspace(0, n * 2 * math.pi, n * 12)
            height = np.interp(t, np.linspace(0, t[-1], n), rng.uniform(0.15, 0.42, n) * pitch)
            py = y - 0.1 * pitch - height * (1 - np.cos(t)) / 1.6
            px = x + t * pitch * 0.05 + np.sin(t) * pitch * 0.12 + (y - py) * slant
            sheet.line(np.stack([px, py], -1), pen, wide)
            x = px[-1] + pitch * rng.uniform(0.4, 0.9)
    return sheet.done()
