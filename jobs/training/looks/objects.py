"""Single things on plain ground, as in games and catalogues: glossy, glowing, cut out, or many and small."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Colour,
    Floats,
    Image,
    colour,
    crop,
    fractal,
    ink,
    log_uniform,
    look,
    mix,
    palette,
    paper,
    plane,
    ramp,
    ramped,
    smooth_noise,
    smoothstep,
    soft,
    to_uint8,
    turned,
    unit,
)
from training.looks.pens import Sheet


def ground(rng: np.random.Generator) -> Colour:
    """White mostly; black, grey, a key colour."""
    return [(255, 255, 255), (255, 255, 255), (0, 0, 0), paper(rng), colour(rng)][int(rng.integers(5))]


@look()
def glossy(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Balls, buttons, jars with smooth shades, a highlight, an outline, a shadow; spots on them."""
    y, x = plane(size)
    canvas: Floats = np.ones((size, size, 3), np.float32) * np.array(ground(rng))
    for _ in range(int(log_uniform(rng, 1, 10))):
        cy, cx, ry = *rng.uniform(0.15, 0.85, 2) * size, size * log_uniform(rng, 0.06, 0.4)
        rx, power = ry * rng.uniform(0.6, 1.5), rng.choice([2.0, 2.0, 4.0, 7.0])
        dy, dx = (y - cy) / ry, (x - cx) / rx
        radius = (np.abs(dy) ** power + np.abs(dx) ** power) ** (1 / power)
        distance = (1 - radius) * min(ry, rx)
        a, b = palette(rng, 2)
        light = np.clip(0.75 - 0.45 * (dy + dx) / 1.4 - 0.35 * radius**3, 0, 1)
        body = ramped(light.astype(np.float32), [a, b, (255, 255, 255)] if rng.random() < 0.3 else [a, b])
        for _ in range(int(rng.choice([0, 0, 3, 9]))):
            py, px, r = *rng.uniform(-0.8, 0.8, 2), rng.uniform(0.06, 0.25)
            spot = ramp((r - np.hypot(dy - py, dx - px)) * ry)
            body = mix(body, body * 0.4 + 150, spot)
        shine = smoothstep(0.0, 1.0, 1.2 - np.hypot((dy + 0.5) * 1.6, dx + 0.3) * rng.uniform(1.2, 2.5))
        body = mix(body, np.array([255, 255, 255]), np.clip(shine, 0, 1) * rng.uniform(0.2, 0.9))
        if rng.random() < 0.5:
            shadow = np.exp(-(((y - cy - ry) / (ry * 0.2 + 2)) ** 2 + ((x - cx) / rx) ** 2)) * rng.uniform(
                0.2, 0.6
            )
            canvas = canvas * (1 - shadow)[..., None]
        wide = rng.choice([0.0, 1.0, 2.0, 3.5])
        if wide:
            canvas = mix(canvas, np.array(ink(rng)), ramp(distance + wide))
        canvas = mix(canvas, body, ramp(distance))
    return to_uint8(canvas)


@look()
def orbs(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Glowing rings, balls of energy with small lightning, halos, on white, black or a gradient."""
    y, x = plane(size)
    u, _ = turned(size, rng.uniform(0, 6))
    base = (
        ramped(unit(u), palette(rng, 2))
        if rng.random() < 0.3
        else np.ones((size, size, 3)) * np.array(ground(rng))
    )
    canvas: Floats = base.astype(np.float32)
    for _ in range(int(rng.integers(1, 5))):
        cy, cx, radius = *rng.uniform(0.2, 0.8, 2) * size, size * rng.uniform(0.08, 0.4)
        d, tint = np.hypot(y - cy, x - cx), np.array(colour(rng, 0.6))
        wide = radius * rng.uniform(0.05, 0.5)
        ring = np.exp(-(((d - radius) / wide) ** 2)) if rng.random() < 0.6 else smoothstep(0, 1, 1.3 - d / radius)
        canvas = mix(canvas, tint, np.clip(ring, 0, 1) * rng.uniform(0.5, 1))
        core = np.clip(ring * 1.6 - 0.8, 0, 1) * rng.uniform(0, 1)
        canvas = mix(canvas, np.array([255, 255, 255]), core)
        sheet = Sheet(size, (0, 0, 0), 3)
        for a in rng.uniform(0, 2 * math.pi, int(rng.integers(0, 9))):
            t = np.linspace(0.2, 1, 9)
            wave = a + rng.normal(0, 0.12, 9)
            sheet.line(
                np.stack([cx + np.cos(wave) * radius * t, cy + np.sin(wave) * radius * t], -1),
                (255, 255, 255),
                0.9,
            )
        canvas = mix(canvas, tint * 0.5 + 127, sheet.done()[..., 0].astype(np.float32) / 255)
    return to_uint8(canvas)


@look()
def puffs(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Smoke, flame, magic dust: a soft body with fine texture that fades into plain ground."""
    y, x = plane(size)
    canvas: Floats = np.ones((size, size, 3), np.float32) * np.array(ground(rng))
    for _ in range(int(rng.integers(1, 4))):
        cy, cx, ry, rx = *rng.uniform(0.25, 0.75, 2) * size, *rng.uniform(0.1, 0.4, 2) * size
        body = 1 - np.hypot((y - cy) / ry, (x - cx) / rx) + 0.35 * fractal(size, rng.uniform(1.6, 2.2), rng)
        tone = np.clip(0.5 + 0.25 * fractal(size, rng.uniform(1.4, 1.9), rng), 0, 1).astype(np.float32)
        share = smoothstep(0.0, rng.uniform(0.2, 1.0), body.astype(np.float32))
        canvas = mix(canvas, ramped(tone, palette(rng, 3)), share * rng.uniform(0.5, 1))
    return to_uint8(canvas)


def outline(size: int, rng: np.random.Generator) -> Floats:
    """Distance in px inside a lumpy outline about the middle."""
    y, x = plane(size)
    angle, d = np.arctan2(y - size / 2, x - size / 2), np.hypot(y - size / 2, x - size / 2)
    reach = np.full_like(angle, size * rng.uniform(0.25, 0.42))
    for k in range(1, 7):
        reach *= 1 + rng.normal(0, 0.22 / k) * np.cos(k * angle + rng.uniform(0, 6))
    return (reach - d + rng.uniform(0, 4) * smooth_noise(size, size / 10, rng)).astype(np.float32)


@look(photo=True)
def cut_out(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Part of a picture freed from its background, on plain ground; sometimes with outline or shadow."""
    image, inside = crop(photo, size, rng), outline(size, rng)
    canvas: Floats = np.ones((size, size, 3), np.float32) * np.array(ground(rng))
    share = ramp(inside)
    if rng.random() < 0.4:
        drop = int(rng.integers(2, 9))
        canvas = canvas * (1 - 0.5 * np.roll(soft(share, rng.uniform(1.5, 6)), (drop, drop), (0, 1)))[..., None]
    if rng.random() < 0.4:
        rim = (255, 255, 255) if rng.random() < 0.5 else ink(rng)
        canvas = mix(canvas, np.array(rim), ramp(inside + rng.uniform(1, 5)))
    return to_uint8(mix(canvas, image, share))


@look(photo=True, marks=True)
def thumbnails(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Many tiny pictures of 8 to 48 px on plain ground, in rows or loosely, with or without frames."""
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = ground(rng)
    side = int(log_uniform(rng, 8, 48))
    gap, frame, loose = int(rng.integers(1, 14)), rng.random() < 0.3, rng.random() < 0.3
    filled = rng.uniform(0.2, 1)
    for top in range(gap, size - side, side + gap):
        for left in range(gap, size - side, side + gap):
            if rng.random() > filled:
                continue
            part = PIL.fromarray(crop(photo, max(side * 3, 48), rng)).resize((side, side), PIL.Resampling.LANCZOS)
            y, x = (top, left) if not loose else (int(v) for v in rng.integers(0, size - side, 2))
            tiny = np.array(part)
            if frame:
                tiny[0], tiny[-1], tiny[:, 0], tiny[:, -1] = 0, 0, 0, 0
            elif rng.random() < 0.5:
                round_ = (np.hypot(*(np.mgrid[:side, :side] - side / 2 + 0.5)) < side / 2 - 0.5)[..., None]
                tiny = np.where(round_, tiny, canvas[y : y + side, x : x + side])
            canvas[y : y + side, x : x + side] = tiny
    return canvas


@look()
def facets(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A wallpaper of large slanted planes with gradients, folds and soft shadows along hard edges."""
    u, _ = turned(size, rng.uniform(0, 6))
    canvas: Floats = ramped(unit(u), palette(rng, 2))
    hues = palette(rng, 5)
    for _ in range(int(rng.integers(2, 12))):
        along, _ = turned(size, rng.uniform(0, 2 * math.pi))
        distance = along - rng.uniform(-0.45, 0.45) * size
        if rng.random() < 0.3:
            distance = distance + np.abs(turned(size, rng.uniform(0, 6))[0] % 60 - 30) * rng.uniform(0.2, 0.8)
        shade = np.clip(distance / size, 0, 1)[..., None] * rng.uniform(-90, 90)
        shadow = np.exp(-np.maximum(-distance, 0) / rng.uniform(3, 14)) * rng.uniform(0, 0.4)
        canvas = canvas * (1 - shadow * (distance < 0))[..., None]
        canvas = mix(canvas, np.array(hues[int(rng.integers(5))]) + shade, ramp(distance) * rng.uniform(0.3, 1))
    return to_uint8(canvas)


@look()
def inked_figure(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Cartoon creatures: flat or softly shaded fields with black outlines of changing width, on plain ground."""
    sheet, hues = Sheet(size, ground(rng), 3), palette(rng, 5)
    cx, cy, r = *rng.uniform(0.35, 0.65, 2) * size, size * rng.uniform(0.2, 0.38)
    wide, t = rng.uniform(0.8, 3.2), np.linspace(0, 2 * math.pi, 60)

    def lump(x: float, y: float, w: float, h: float, tint: Colour) -> None:
        wobble = 1 + 0.06 * np.sin(t * int(rng.integers(2, 6)) + rng.uniform(0, 6))
        shape = np.stack([x + np.cos(t) * w * wobble, y + np.sin(t) * h * wobble], -1)
        sheet.polygon(shape, tint, (12, 10, 14), wide * rng.uniform(0.7, 1.3))

    for side in (-1, 1):
        lump(
            cx + side * r * rng.uniform(0.6, 1),
            cy - r * rng.uniform(0.5, 1),
            r * 0.3,
            r * rng.uniform(0.3, 0.7),
            hues[1],
        )
    lump(cx, cy + r * 1.3, r * 0.9, r * 0.8, hues[2])
    lump(cx, cy, r, r * rng.uniform(0.8, 1.1), hues[0])
    for side in (-1, 1):
        lump(cx + side * r * 0.38, cy - r * 0.1, r * 0.2, r * 0.26, (250, 250, 250))
        sheet.disc(cx + side * r * 0.36, cy - r * 0.06, r * 0.11, hues[3], (0, 0, 0), wide * 0.6)
        sheet.disc(cx + side * r * 0.32, cy - r * 0.12, r * 0.035, (255, 255, 255))
    bow = np.linspace(-1, 1, 14)
    sheet.line(
        np.stack([cx + bow * r * 0.3, cy + r * (0.45 - rng.uniform(-0.15, 0.2) * bow**2)], -1), (12, 10, 14), wide
    )
    for _ in range(int(rng.integers(4, 16))):
        a = -math.pi / 2 + rng.normal(0, 0.6)
        root = np.array([cx + math.cos(a) * r * 0.9, cy + math.sin(a) * r * 0.9])
        sheet.line(
            np.array([root, root + r * 0.3 * np.array([math.cos(a + 0.3), math.sin(a + 0.3)])]), hues[4], wide
        )
    made = sheet.done().astype(np.float32)
    if rng.random() < 0.5:  # soft shading inside the fields, the lines stay black
        light = 1 + 0.25 * smooth_noise(size, rng.uniform(1, 3), rng)
        plain = np.abs(made - made[0, 0]).max(-1) < 1
        made = made * np.where(plain, 1, np.clip(light, 0.5, 1.3))[..., None]
    return to_uint8(made)
