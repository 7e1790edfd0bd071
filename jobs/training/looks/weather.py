"""In the air, before a scene or a plain ground: snow, rain, sparks, dust, bubbles, drops, lights."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    crop,
    fractal,
    ink,
    log_uniform,
    look,
    mix,
    palette,
    plane,
    ramp,
    ramped,
    to_uint8,
    turned,
    unit,
)
from training.looks.pens import Sheet, cover, splat
from training.looks.sky import night


def ground(photo: Image | None, size: int, rng: np.random.Generator, flat: float = 0.35) -> Image:
    """A photograph, or a flat colour or gradient."""
    if photo is not None and rng.random() > flat:
        return crop(photo, size, rng)
    u, _ = turned(size, rng.uniform(0, 2 * math.pi))
    return to_uint8(ramped(unit(u), palette(rng, 2 if rng.random() < 0.7 else 3)))


@look(photo=True, marks=True)
def snow(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Flakes in layers: small and sharp far off, large and soft near by."""
    canvas = ground(photo, size, rng).astype(np.float32) * rng.uniform(0.45, 0.9)
    for _ in range(int(rng.integers(1, 4))):
        radius = log_uniform(rng, 0.6, 5)
        count = int(rng.uniform(0.3, 1) * 900 / radius**1.3 * (size / 320) ** 2) + 1
        y, x, r = *rng.uniform(0, size, (2, count)), radius * rng.uniform(0.6, 1.4, count)
        if rng.random() < 0.5:
            share = cover(size, y, x, r)
        else:
            layer = np.zeros((size, size, 3), np.float32)
            splat(layer, y, x, r, np.ones((count, 3)))
            share = np.minimum(layer[..., 0], 1)
        canvas = mix(canvas, np.array([255, 255, 255]), share * rng.uniform(0.6, 1))
    return to_uint8(canvas)


def streaks(size: int, count: int, angle: float, length: float, width: float, rng: np.random.Generator) -> Floats:
    """Coverage by thin parallel strokes, each with a strength of its own."""
    sheet = Sheet(size, (0, 0, 0), 3)
    for _ in range(count):
        x, y, reach = *rng.uniform(-0.1 * size, 1.1 * size, 2), length * rng.uniform(0.5, 1.5)
        turn = angle + rng.normal(0, 0.02)
        end = (x + reach * math.cos(turn), y + reach * math.sin(turn))
        value = int(rng.uniform(60, 255))
        sheet.line(np.array([(x, y), end]), (value, value, value), width * rng.uniform(0.7, 1.3))
    return sheet.done()[..., 0].astype(np.float32) / 255


@look(photo=True, marks=True, held_out=True)
def rain(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Slanted streaks before a darkened scene."""
    canvas = ground(photo, size, rng, 0.2).astype(np.float32) * rng.uniform(0.4, 0.8)
    share = streaks(
        size, int(rng.uniform(80, 500)), math.pi / 2 + rng.normal(0, 0.2), rng.uniform(8, 40), 0.7, rng
    )
    return to_uint8(mix(canvas, np.array([225, 232, 240]), share * rng.uniform(0.4, 0.9)))


@look(marks=True)
def meteor_sparks(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Sparks and embers that fly from a fire: short bright strokes with a glow, on dark."""
    canvas = night(size, rng)
    tint = np.array([255, rng.uniform(90, 200), rng.uniform(10, 120)])
    angle = rng.uniform(0, 2 * math.pi)
    for count, length, width in (
        (int(rng.uniform(20, 200)), rng.uniform(2, 10), 1.0),
        (30, rng.uniform(8, 40), 0.8),
    ):
        share = streaks(size, count, angle + rng.normal(0, 0.1), length, width, rng)
        canvas += share[..., None] * tint + 1.5 * (blurred(to_uint8(share * 255), 4) / 255.0)[..., None] * tint
    return to_uint8(canvas)


@look(photo=True, marks=True, held_out=True)
def fireflies(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Small glowing lights before a dark wood."""
    canvas = ground(photo, size, rng, 0.2).astype(np.float32) * rng.uniform(0.1, 0.35) * [0.8, 1, 1.1]
    tint, count = np.array([rng.uniform(180, 255), 240, rng.uniform(60, 180)]), int(log_uniform(rng, 8, 120))
    y, x = rng.uniform(0, size, (2, count))
    sigma = rng.uniform(0.7, 2.2, count)
    splat(canvas, y, x, sigma, tint * rng.uniform(0.6, 1.6, (count, 1)))
    splat(canvas, y, x, sigma * 4, tint * 0.25 * rng.uniform(0.3, 1, (count, 1)))
    return to_uint8(canvas)


@look(photo=True, marks=True)
def dust_motes(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Pale specks in a beam of light, sharp and soft ones."""
    canvas = ground(photo, size, rng, 0.25).astype(np.float32) * rng.uniform(0.4, 0.9)
    _, v = turned(size, rng.uniform(0, math.pi))
    beam = np.exp(-((v / size / rng.uniform(0.1, 0.5)) ** 2))
    canvas = mix(canvas, np.array([250, 240, 215]), beam * rng.uniform(0.05, 0.35))
    for sigma in (0.6, rng.uniform(0.8, 3)):
        count = int(rng.uniform(30, 300))
        y, x = rng.uniform(0, size - 1, (2, count))
        value = beam[y.astype(int), x.astype(int)] * rng.uniform(20, 160, count)
        splat(canvas, y, x, np.full(count, sigma), value[:, None] * np.array([1, 0.96, 0.86]))
    return to_uint8(canvas)


@look(photo=True, marks=True)
def bubbles(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Thin bright rims with highlights, on water or in the air."""
    canvas = ground(photo, size, rng).astype(np.float32)
    y, x = plane(size)
    for _ in range(int(log_uniform(rng, 4, 60))):
        cy, cx, radius = *rng.uniform(0, size, 2), log_uniform(rng, 2, size / 6)
        y0, x0, y1, x1 = (
            int(np.clip(v, 0, size)) for v in (cy - radius - 2, cx - radius - 2, cy + radius + 3, cx + radius + 3)
        )
        if y1 <= y0 or x1 <= x0:
            continue
        dy, dx = y[y0:y1, x0:x1] - cy, x[y0:y1, x0:x1] - cx
        d = np.hypot(dy, dx)
        rim = ramp(radius - d) * np.clip((d / radius) ** 6, 0, 1) * rng.uniform(0.4, 0.9)
        shine = np.clip(1.3 - np.hypot(dy + radius * 0.4, dx + radius * 0.4) / (radius * 0.22), 0, 1) * ramp(
            radius - d
        )
        canvas[y0:y1, x0:x1] = mix(canvas[y0:y1, x0:x1], np.array([235, 245, 255]), np.maximum(rim, shine * 0.9))
    return to_uint8(canvas)


@look(photo=True, marks=True)
def water_drops(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Drops on glass: each shows the scene upside down, with a dark and a bright rim."""
    image = crop(photo, size, rng)
    canvas = blurred(image, rng.uniform(3, 8)).astype(np.float32)
    y, x = plane(size)
    for _ in range(int(rng.uniform(20, 120))):
        cy, cx, radius = *rng.uniform(0, size, 2), log_uniform(rng, 2.5, 16)
        y0, x0, y1, x1 = (
            int(np.clip(v, 0, size)) for v in (cy - radius - 2, cx - radius - 2, cy + radius + 3, cx + radius + 3)
        )
        if y1 <= y0 or x1 <= x0:
            continue
        dy, dx = y[y0:y1, x0:x1] - cy, x[y0:y1, x0:x1] - cx
        d = np.hypot(dy, dx)
        sy, sx = np.clip(cy - dy * 4, 0, size - 1).astype(int), np.clip(cx - dx * 4, 0, size - 1).astype(int)
        lens = image[sy, sx] * (1 - 0.5 * (d / radius) ** 4)[..., None]
        shine = np.clip(1.5 - np.hypot(dy + radius * 0.45, dx + radius * 0.3) / (radius * 0.25), 0, 1)
        drop = mix(lens, np.array([255, 255, 255]), shine)
        canvas[y0:y1, x0:x1] = mix(canvas[y0:y1, x0:x1], drop, ramp(radius - d))
    return to_uint8(canvas)


@look(marks=True)
def bokeh_discs(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Lights out of focus: translucent discs with brighter rims on dark or colour."""
    canvas = night(size, rng) + np.array(colour(rng, 0, 0.3), np.float32)
    y, x = plane(size)
    colours, reach = palette(rng, 5), size * log_uniform(rng, 0.02, 0.12)
    for _ in range(int(log_uniform(rng, 6, 80))):
        cy, cx, radius = *rng.uniform(0, size, 2), reach * rng.uniform(0.6, 1.3)
        y0, x0, y1, x1 = (
            int(np.clip(v, 0, size)) for v in (cy - radius - 2, cx - radius - 2, cy + radius + 3, cx + radius + 3)
        )
        if y1 <= y0 or x1 <= x0:
            continue
        d = np.hypot(y[y0:y1, x0:x1] - cy, x[y0:y1, x0:x1] - cx)
        share = ramp(radius - d, rng.uniform(1, 3)) * (0.6 + 0.4 * (d / radius) ** 4) * rng.uniform(0.15, 0.8)
        canvas[y0:y1, x0:x1] += share[..., None] * np.array(colours[int(rng.integers(5))])
    return to_uint8(canvas)


@look(marks=True)
def flock(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Distant birds as small dark strokes on a sky."""
    u, _ = turned(size, math.pi / 2)
    sky = ramped(unit(u), [colour(rng, 0.5), colour(rng, 0.7), colour(rng, 0.8)])
    sheet = Sheet(size, to_uint8(sky + 6 * fractal(size, 1.8, rng)[..., None]), 3)
    centre, spread = rng.uniform(0.2, 0.8, 2) * size, size * rng.uniform(0.1, 0.5)
    tint, reach = ink(rng), log_uniform(rng, 1.5, 6)
    for _ in range(int(log_uniform(rng, 10, 250))):
        place, r, lift = rng.normal(centre, spread), reach * rng.uniform(0.6, 1.3), rng.uniform(-0.5, 0.9)
        wing = np.array([[-r, -r * lift], [-r * 0.4, -r * 0.35], [0, 0], [r * 0.4, -r * 0.35], [r, -r * lift]])
        sheet.line(place + wing, tint, 0.9)
    return sheet.done()
