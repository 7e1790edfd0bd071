"""Lights by night: trails, tubes, windows."""

from __future__ import annotations

import numpy as np

from training.looks.base import Floats, Image, blurred, colour, crop, fractal, look, mix, plane, to_uint8
from training.looks.pens import Sheet


@look(photo=True)
def light_trails(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Long exposure of a road or a torch: bundles of smooth bright lines on dark."""
    canvas = crop(photo, size, rng).astype(np.float32) * rng.uniform(0.08, 0.3)
    sheet = Sheet(size, (0, 0, 0), 2)
    for _ in range(int(rng.integers(2, 6))):
        tint = [(255, 60, 40), (255, 235, 200), (255, 170, 60), colour(rng, 0.8)][int(rng.integers(4))]
        points = rng.uniform(-0.2, 1.2, (4, 2)) * size
        t = np.linspace(0, 1, 40)[:, None]
        path = (
            (1 - t) ** 3 * points[0]
            + 3 * t * (1 - t) ** 2 * points[1]
            + 3 * t * t * (1 - t) * points[2]
            + t**3 * points[3]
        )
        for _ in range(int(rng.integers(3, 14))):
            shift = rng.normal(0, 7, 2) * (0.3 + t)
            sheet.line(path + shift, tuple(int(c * rng.uniform(0.4, 1)) for c in tint), rng.uniform(0.5, 1.8))
    light = sheet.done()
    return to_uint8(canvas + light + blurred(light, 4) * 0.9)


@look()
def neon(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Glowing tubes in the shape of words, curves, frames, on a dark or bricked wall."""
    from training.looks.lettering import font, word

    wall: Floats = np.array(colour(rng, 0.03, 0.18), np.float32) * np.ones((size, size, 3), np.float32)
    if rng.random() < 0.5:
        y, x = plane(size)
        row = np.floor(y / 14)
        joint = ((y % 14) < 1.5) | (((x + (row % 2) * 16) % 32) < 1.5)
        wall = wall * (np.where(joint, 0.5, 1) + 0.08 * fractal(size, 0.5, rng))[..., None]
    light = np.zeros((size, size, 3), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        sheet, tint, kind = Sheet(size, (0, 0, 0), 2), np.array(colour(rng, 0.9), np.float32), rng.integers(3)
        if kind == 0:
            face = font(rng, int(size * rng.uniform(0.2, 0.5)))
            sheet.pen.text(
                tuple((rng.uniform(0, 0.6, 2) * size * 2).tolist()),
                word(rng),
                font=face,
                fill=(0, 0, 0),
                stroke_width=4,
                stroke_fill=(255, 255, 255),
            )
        elif kind == 1:
            x, y = rng.uniform(0.2, 0.8, 2) * size
            sheet.disc(x, y, size * rng.uniform(0.08, 0.3), None, (255, 255, 255), 2.2)
        else:
            t = np.linspace(0, 1, 30)[:, None]
            a, b, c = rng.uniform(0, size, (3, 2))
            sheet.line((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c, (255, 255, 255), 2.2)
        mask = sheet.done()[..., 0]
        core = (mask / 255.0)[..., None]
        light += (
            core * (0.4 * tint + 150)
            + (blurred(mask, 3) / 255.0 * 1.2 + blurred(mask, 14) / 255.0 * 2.5)[..., None] * tint * 0.7
        )
    return to_uint8(wall * (1 + light.mean(-1, keepdims=True) / 120) + light)


@look(marks=True)
def city_windows(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Towers by night: rows of small lit windows, a sky, sometimes water below."""
    y, _ = plane(size)
    canvas = to_uint8(mix(np.array(colour(rng, 0, 0.25)), np.array(colour(rng, 0.05, 0.45)), y / size)).copy()
    warm = np.array([(255, 214, 140), (255, 240, 200), (200, 220, 255), (255, 180, 90)])
    for layer in range(3):
        x = int(rng.integers(-20, 10))
        while x < size:
            wide, high = int(rng.uniform(0.08, 0.22) * size), int(size * rng.uniform(0.25, 0.9 - layer * 0.18))
            left, right, top = max(0, x), min(size, x + wide), size - high
            if right > left:
                canvas[top:, left:right] = np.array(colour(rng, 0.02, 0.16 - layer * 0.04), np.uint8)
                step, w, h = int(rng.integers(4, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 5))
                lit = rng.uniform(0.1, 0.7)
                for wy in range(top + 3, size - h, step + h - 1):
                    for wx in range(left + 2, right - w, step):
                        if rng.random() < lit:
                            canvas[wy : wy + h, wx : wx + w] = warm[int(rng.integers(4))] * rng.uniform(0.5, 1)
            x += wide + int(rng.integers(0, 12))
    if rng.random() < 0.4:
        horizon = int(size * rng.uniform(0.6, 0.85))
        ripple = np.rint(rng.uniform(0, 3) * np.sin(np.arange(size - horizon) * 0.9)).astype(int)
        for i in range(size - horizon):
            source = max(0, horizon - 1 - i)
            canvas[horizon + i] = np.roll(canvas[source], ripple[i], 0) * 0.55
    return canvas
