"""Leaves, hair, grass, scales, flowers, frost: many alike, each drawn."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    log_uniform,
    look,
    palette,
    ramped,
    smooth_noise,
    to_uint8,
    turned,
    unit,
)
from training.looks.pens import Sheet


@look()
def foliage(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Leaves over leaves, lit and shaded halves, dark gaps between."""
    sheet = Sheet(size, (18, 28, 14), 2)
    hue, reach = (
        np.array([rng.uniform(30, 190), rng.uniform(90, 200), rng.uniform(10, 80)]),
        log_uniform(rng, 5, 26),
    )
    t = np.linspace(0, math.pi, 7)
    count = int(min(1400, 2.5 * (size / reach) ** 2)) + 20
    for number in range(count):
        light = (0.35 + 0.75 * number / count) * rng.uniform(0.75, 1.2)
        x, y, a, r = *rng.uniform(-5, size + 5, 2), rng.uniform(0, 2 * math.pi), reach * rng.uniform(0.6, 1.3)
        along, across = -np.cos(t) * r, np.sin(t) * r * rng.uniform(0.25, 0.5)
        for side, shade in ((1, 1.0), (-1, 0.78)):
            px, py = (
                along * math.cos(a) - side * across * math.sin(a),
                along * math.sin(a) + side * across * math.cos(a),
            )
            cr, cg, cb = np.clip(hue * light * shade + rng.normal(0, 4, 3), 0, 255).astype(int).tolist()
            sheet.polygon(np.stack([x + px, y + py], -1), (cr, cg, cb))
    return sheet.done()


def strands(
    size: int, count: int, length: float, width: float, lie: Floats, hues: list[Floats], rng: np.random.Generator
) -> Image:
    """Curved hairs along the angles ``lie``, back to front, each with its own light."""
    sheet = Sheet(size, tuple(int(min(255, c * 0.45)) for c in hues[0]), 2)
    for number in range(count):
        x, y = rng.uniform(-0.1 * size, 1.1 * size, 2)
        path = [(x, y)]
        bend = rng.normal(0, 0.12)
        for step in range(4):
            a = lie[int(np.clip(y, 0, size - 1)), int(np.clip(x, 0, size - 1))] + bend * step
            x, y = x + math.cos(a) * length / 4, y + math.sin(a) * length / 4
            path.append((x, y))
        light = 0.6 + 0.5 * number / count + rng.normal(0, 0.12)
        r, g, b = np.clip(hues[int(rng.integers(len(hues)))] * light, 0, 255).astype(int).tolist()
        sheet.line(np.array(path), (r, g, b), width * rng.uniform(0.6, 1.3))
    return sheet.done()


@look()
def fur(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Fur with whorls, one or several colours, in spots or stripes of light."""
    lie = rng.uniform(0, 2 * math.pi) + smooth_noise(size, rng.uniform(1, 4), rng) * rng.uniform(0.3, 0.9)
    base = np.array(colour(rng, 0.5, 1.0), np.float32) * 0.35 + np.array(
        [165, 135, 105], np.float32
    ) * rng.uniform(0.4, 1)
    return strands(
        size,
        int(2400 * (size / 320) ** 2),
        rng.uniform(12, 34),
        rng.uniform(1.0, 2.2),
        lie,
        [base, base * 0.8, base * 1.15],
        rng,
    )


@look(held_out=True)
def hair(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Long strands that run together in waves, with bands of shine."""
    u, v = turned(size, rng.uniform(0, math.pi))
    wave = smooth_noise(size, 2, rng) * rng.uniform(5, 25) + rng.uniform(2, 14) * np.sin(u / rng.uniform(15, 60))
    line = np.interp((v + wave) * 0.6, np.arange(-size * 2, size * 2), rng.standard_normal(size * 4)).astype(
        np.float32
    )
    lock = np.interp((v + wave) / 6, np.arange(-size, size), rng.standard_normal(size * 2)).astype(np.float32)
    shine = np.exp(-((u / size - rng.uniform(-0.3, 0.3) + 0.02 * lock) ** 2) / 0.02)
    base = np.array(colour(rng, 0.2, 0.9), np.float32) * 0.4 + np.array([90, 60, 35], np.float32)
    light = 0.75 + 0.14 * line + 0.2 * lock + rng.uniform(0.3, 0.9) * shine
    return to_uint8(base * light[..., None])


@look()
def grass(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Blades that stand up, dark below, light tips, a few flowers."""
    lie = np.full((size, size), -math.pi / 2, np.float32) + smooth_noise(size, 6, rng) * rng.uniform(0.15, 0.4)
    base = np.array([rng.uniform(60, 170), rng.uniform(110, 190), rng.uniform(20, 80)], np.float32)
    made = strands(
        size,
        int(2200 * (size / 320) ** 2),
        rng.uniform(12, 40),
        rng.uniform(1, 2.6),
        lie,
        [base, base * 0.8, base * [1.2, 1.1, 0.8]],
        rng,
    )
    if rng.random() < 0.4:
        sheet, tint = Sheet(size, made, 2), colour(rng, 0.8)
        for _ in range(int(rng.integers(5, 60))):
            x, y, r = *rng.uniform(0, size, 2), rng.uniform(1, 3.5)
            for a in np.arange(5) * 1.257:
                sheet.disc(x + math.cos(a) * r, y + math.sin(a) * r, r * 0.6, tint)
            sheet.disc(x, y, r * 0.5, (250, 210, 60))
        made = sheet.done()
    return made


@look()
def frost(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Ice ferns: branches that branch, pale on a cold ground."""
    u, _ = turned(size, rng.uniform(0, 6))
    sheet = Sheet(size, to_uint8(ramped(unit(u), [colour(rng, 0.1, 0.4), colour(rng, 0.3, 0.7)])), 2)
    t = rng.uniform(0.5, 1.2)

    def branch(x: float, y: float, a: float, length: float, depth: int) -> None:
        end = (x + math.cos(a) * length, y + math.sin(a) * length)
        light = int(170 + 80 * rng.random())
        sheet.line(np.array([(x, y), end]), (light, light + 4 if light < 250 else 254, 255), 0.4 + depth * 0.35)
        if depth:
            for share in np.arange(0.2, 1, 0.22 if depth > 1 else 0.16):
                for side in (-t, t):
                    branch(
                        x + (end[0] - x) * share,
                        y + (end[1] - y) * share,
                        a + side + rng.normal(0, 0.08),
                        length * 0.4 * (1.1 - share * 0.6),
                        depth - 1,
                    )

    for _ in range(int(rng.integers(2, 5))):
        branch(rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0, 6.28), size * rng.uniform(0.3, 0.8), 2)
    return sheet.done()


@look()
def scales(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Overlapping scales, shingles or feathers in rows, shaded, each tone a little different."""
    pitch = log_uniform(rng, 8, 36)
    sheet, colours = Sheet(size, colour(rng, 0, 0.3), 2), palette(rng, 3)
    for row in range(int(size / pitch * 2) + 3, -2, -1):
        for column in range(-1, int(size / pitch) + 2):
            x, y = (column + (row % 2) / 2) * pitch, row * pitch / 2
            tint = np.array(colours[int(rng.integers(3))]) * rng.uniform(0.8, 1.1)
            for k in range(3):
                r, g, b = np.clip(tint * (0.55 + 0.25 * k), 0, 255).astype(int).tolist()
                sheet.disc(x, y - k * pitch * 0.05, pitch * (0.55 - 0.07 * k), (r, g, b))
    return sheet.done()


@look()
def petals(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Flowers of layered petals with veins, over a soft ground."""
    u, _ = turned(size, rng.uniform(0, 6))
    sheet = Sheet(size, blurred(to_uint8(ramped(unit(u), palette(rng, 2))), 2), 3)
    for _ in range(int(rng.integers(1, 12))):
        cx, cy, reach, tint, count = (
            *rng.uniform(0, size, 2),
            size * rng.uniform(0.06, 0.3),
            np.array(colour(rng, 0.6)),
            int(rng.integers(5, 14)),
        )
        t = np.linspace(0, math.pi, 12)
        for ring in range(int(rng.integers(1, 4))):
            r = reach * (1 - 0.25 * ring)
            for k in range(count):
                a = 2 * math.pi * (k + ring / 2) / count
                along, across = (1 - np.cos(t)) / 2 * r, np.sin(t) * r * 1.6 / count
                for side, shade in ((1, 1), (-1, 0.86)):
                    px = cx + along * math.cos(a) - side * across * math.sin(a)
                    py = cy + along * math.sin(a) + side * across * math.cos(a)
                    c = np.clip(tint * shade * (0.75 + 0.12 * ring), 0, 255).astype(int).tolist()
                    sheet.polygon(np.stack([px, py], -1), (c[0], c[1], c[2]))
        sheet.disc(cx, cy, reach * 0.16, (235, 190, 50))
    return sheet.done()
