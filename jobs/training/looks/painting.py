"""Painted: strokes, knives, dots, water-colour, gouache, cartoons, pastel."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    crop,
    fractal,
    grey,
    log_uniform,
    look,
    median,
    mix,
    paper,
    plane,
    resized,
    smooth_noise,
    smoothstep,
    to_uint8,
)
from training.looks.pens import Sheet, sampled, scattered


def flow(image: Image, sigma: float) -> Floats:
    """Angle along the edges of ``image``, (h, w)."""
    tone = blurred(image, sigma) @ np.array([0.299, 0.587, 0.114], np.float32)
    gy, gx = np.gradient(tone)
    j = [
        blurred(to_uint8(np.clip(v * 4 + 128, 0, 255)), sigma).astype(np.float32) - 128
        for v in (gx * gx - gy * gy, 2 * gx * gy)
    ]
    return (0.5 * np.arctan2(j[1], j[0]) + math.pi / 2).astype(np.float32)


@look(photo=True)
def brush_strokes(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Oil: layers of strokes that follow the forms, coarse to fine, with bristle marks."""
    image = crop(photo, size, rng)
    angles, top = flow(image, 4), log_uniform(rng, 8, 20)
    sheet = Sheet(size, to_uint8(blurred(image, top).astype(np.float32)), 2)
    relief = np.zeros((size, size), np.float32)
    detail = np.abs(image.astype(np.float32) - blurred(image, 4)).mean(-1)
    for width in (top, top * 0.5, top * 0.27):
        y, x = scattered(size, int((size / width) ** 2 * 0.8), rng)
        order = rng.permutation(len(y))
        y, x = y[order], x[order]
        iy, ix = np.clip(y, 0, size - 1).astype(int), np.clip(x, 0, size - 1).astype(int)
        if width < top:
            kept = detail[iy, ix] > rng.uniform(2, 14, len(y)) * width / top
            y, x, iy, ix = y[kept], x[kept], iy[kept], ix[kept]
        tints = np.clip(sampled(blurred(image, width / 3), y, x) + rng.normal(0, 7, (len(y), 1)), 0, 255).astype(
            int
        )
        turn = angles[iy, ix] + rng.normal(0, 0.15, len(y))
        length = width * rng.uniform(1.2, 3, len(y))
        for cy, cx, a, reach, tint in zip(y, x, turn, length, tints.tolist(), strict=True):
            dx, dy = math.cos(a) * reach / 2, math.sin(a) * reach / 2
            sheet.line(np.array([(cx - dx, cy - dy), (cx + dx, cy + dy)]), tuple(tint), width * 0.9)
    made = sheet.done().astype(np.float32)
    fine = fractal(size, 0.6, rng)
    relief = fine * np.clip(np.abs(np.gradient(made.mean(-1))[0]) / 10, 0.2, 1)
    return to_uint8(made + relief[..., None] * rng.uniform(1, 6))


@look(photo=True)
def palette_knife(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Broad flat patches with sharp borders and a lit ridge."""
    image = crop(photo, size, rng)
    sheet = Sheet(size, blurred(image, 8), 2)
    for width in (log_uniform(rng, 14, 36), log_uniform(rng, 8, 13)):
        y, x = scattered(size, int((size / width) ** 2 * 1.3), rng)
        tints = sampled(blurred(image, width / 4), y, x).astype(int)
        for i in rng.permutation(len(y)):
            a, w, h = rng.uniform(0, math.pi), width * rng.uniform(0.5, 1.1), width * rng.uniform(0.2, 0.5)
            box = np.array([[-w, -h], [w, -h * rng.uniform(0.5, 1)], [w, h], [-w, h]])
            rot = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
            light = int(rng.normal(0, 9))
            tint = tuple(int(np.clip(c + light, 0, 255)) for c in tints[i])
            sheet.polygon(box @ rot + [x[i], y[i]], tint)
            if rng.random() < 0.4:
                sheet.line((box @ rot + [x[i], y[i]])[:2], tuple(min(255, c + 26) for c in tint), 0.8)
    return sheet.done()


@look(photo=True, marks=True, held_out=True)
def pointillism(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Dabs of pure colour side by side."""
    image = crop(photo, size, rng)
    sheet = Sheet(size, paper(rng), 3)
    radius = log_uniform(rng, 1.5, 5)
    for _ in range(2):
        y, x = scattered(size, int((size / radius / 1.5) ** 2), rng)
        tints = sampled(blurred(image, radius / 2), y, x).astype(np.float32)
        tints = np.clip(
            tints.mean(-1, keepdims=True)
            + (tints - tints.mean(-1, keepdims=True)) * 1.5
            + rng.normal(0, 24, tints.shape),
            0,
            255,
        )
        for i in rng.permutation(len(y)):
            r, g, b = tints[i].astype(int).tolist()
            sheet.disc(x[i], y[i], radius * rng.uniform(0.7, 1.1), (r, g, b))
    return sheet.done()


@look(photo=True)
def water_colour(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Flat washes with dark wet edges, pigment that settles in the paper's grain, white gaps."""
    image = crop(photo, size, rng)
    smooth = median(blurred(image, 1.5), 5)
    levels = rng.integers(5, 10)
    wobble = (smooth_noise(size, size / 12, rng) * 8)[..., None]
    step = 255 / levels
    flat = np.floor((smooth + wobble) / step) * step + step / 2
    tone = flat.mean(-1)
    edge = np.clip(np.hypot(*np.gradient(blurred(to_uint8(tone), 0.7).astype(np.float32))) / 18, 0, 1)
    grain = fractal(size, 0.5, rng)
    wash = 1 + 0.05 * smooth_noise(size, 5, rng)
    light = 255 - (255 - flat) * rng.uniform(0.6, 0.9)
    values = light * wash[..., None] * (1 - 0.25 * edge[..., None]) + grain[..., None] * (
        2 + 6 * (1 - light / 255)
    )
    border = smoothstep(
        0.02,
        0.06,
        np.minimum.reduce([*plane(size), size - 1 - plane(size)[0], size - 1 - plane(size)[1]]) / size
        + 0.02 * smooth_noise(size, 9, rng),
    )
    page = np.array(paper(rng)) + 3 * grain[..., None]
    return to_uint8(mix(page, values, border) if rng.random() < 0.4 else values)


@look(photo=True)
def gouache(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Flat shapes of few colours with crisp, slightly uneven borders, on toothy paper."""
    image = crop(photo, size, rng, 2)
    table = PIL.fromarray(image).resize((48, 48), PIL.Resampling.BOX).quantize(int(rng.integers(5, 14)))
    inks = np.array(table.getpalette(), np.float32).reshape(-1, 3)
    big = resized(blurred(image, rng.uniform(1.5, 3)), size * 2).astype(np.float32)
    scores = big.reshape(-1, 3) @ inks.T - 0.5 * (inks**2).sum(-1)
    flat = to_uint8(inks)[scores.argmax(-1)].reshape(size * 2, size * 2, 3)
    made = np.asarray(PIL.fromarray(flat).reduce(2)).astype(np.float32)
    return to_uint8(made + fractal(size, 0.4, rng)[..., None] * rng.uniform(0.5, 4))


@look(photo=True)
def cel_shading(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A cartoon: few tones, bold outlines, sometimes a screen tone in the shade."""
    image = crop(photo, size, rng)
    smooth = median(blurred(image, 0.8), 5)
    levels = int(rng.integers(3, 6))
    tone = grey(smooth) * 255
    target = (np.rint(tone / 255 * levels) + 0.15) / (levels + 0.3) * 255
    flat = np.minimum(smooth * (target / (tone + 4))[..., None], 255)
    flat = flat.mean(-1, keepdims=True) + (flat - flat.mean(-1, keepdims=True)) * rng.uniform(0.9, 1.6)
    difference = np.abs(blurred(to_uint8(tone), 1.0).astype(np.float32) - blurred(to_uint8(tone), 2.2))
    outline = np.clip((difference - rng.uniform(3, 6)) / 2, 0, 1)
    if rng.random() < 0.4:
        from training.looks.printing import screen

        dots = screen(size, math.pi / 4, rng.uniform(4, 8), 0)
        flat = flat * (1 - 0.35 * (np.clip((dots - 0.6) * 8, 0, 1) * (tone < 110))[..., None])
    return to_uint8(mix(flat, np.array([15, 12, 15]), outline))


@look(photo=True)
def pastel(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Chalk pastel or crayon: strokes of pigment that catch on the paper's tooth."""
    image = crop(photo, size, rng)
    tooth = fractal(size, rng.uniform(0.5, 0.9), rng, rng.uniform(4, 9), rng.uniform(0, math.pi))
    cover_ = np.clip(0.6 + (tooth + rng.uniform(0.3, 1.0)) * 0.4, rng.uniform(0.4, 0.65), 1)
    flat = image.astype(np.float32)
    flat = flat.mean(-1, keepdims=True) + (flat - flat.mean(-1, keepdims=True)) * rng.uniform(1, 1.6)
    stock = np.array(paper(rng) if rng.random() < 0.6 else colour(rng, 0.1, 0.5))
    return to_uint8(mix(stock, flat, cover_))
