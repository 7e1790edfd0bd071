"""Plans, maps and charts."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Colour,
    Image,
    colour,
    ink,
    log_uniform,
    look,
    mix,
    palette,
    paper,
    ramp,
    ramped,
    smooth_noise,
    to_uint8,
    unit,
)
from training.looks.lettering import font, line, word
from training.looks.pens import Sheet


@look()
def blueprint(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Plans: thin pale lines, dimensions, a grid, on blue or white."""
    blue = rng.random() < 0.7
    ground, pen = (
        (colour(rng, 0.3, 0.6) if rng.random() < 0.3 else (24, 60, 120)) if blue else (255, 255, 255),
        (230, 238, 250) if blue else ink(rng),
    )
    sheet = Sheet(size, ground, 3)
    faint: Colour = tuple(int(g + 0.18 * (p - g)) for g, p in zip(ground, pen, strict=True))
    pitch = rng.uniform(6, 30)
    for i in range(int(size / pitch) + 1):
        sheet.line(np.array([(i * pitch, 0), (i * pitch, size)]), faint, 0.5)
        sheet.line(np.array([(0, i * pitch), (size, i * pitch)]), faint, 0.5)
    for _ in range(int(rng.integers(4, 22))):
        x, y, w, h = *(np.rint(rng.uniform(0, size, 2) / pitch) * pitch), *(rng.integers(1, 9, 2) * pitch)
        kind, wide = rng.integers(5), rng.uniform(0.5, 1.6)
        if kind == 0:
            sheet.line(np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)]), pen, wide)
        elif kind == 1:
            sheet.disc(x, y, w / 2, None, pen, wide)
            sheet.line(np.array([(x - w, y), (x + w, y)]), pen, 0.4)
        elif kind == 2:
            sheet.pen.arc(tuple(float(v) * 3 for v in (x - w, y - w, x + w, y + w)), 0, 90, fill=pen, width=3)
        elif kind == 3:
            sheet.line(np.array([(x, y), (x + w, y)]), pen, 0.5)
            sheet.pen.text(((x + w / 3) * 3, (y - 10) * 3), word(rng, 3), fill=pen, font=font(rng, 24))
        else:
            for k in range(int(w / 3)):
                sheet.line(np.array([(x + k * 3, y), (x + k * 3 + 6, y + 12)]), pen, 0.4)
    return sheet.done()


@look()
def street_map(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Roads of several widths with casing, blocks, water, parks, names."""
    sheet, pale = (
        Sheet(size, [(242, 239, 233), (250, 250, 250), (38, 44, 58)][int(rng.integers(3))], 3),
        rng.random() < 0.7,
    )
    for _ in range(int(rng.integers(1, 6))):
        angle, centre = np.sort(rng.uniform(0, 2 * math.pi, 9)), rng.uniform(0, size, 2)
        shape = centre + np.stack([np.cos(angle), np.sin(angle)], -1) * (size * rng.uniform(0.08, 0.3, (9, 1)))
        sheet.polygon(shape, [(170, 211, 223), (200, 230, 180), (224, 223, 210)][int(rng.integers(3))])
    turn, roads = rng.uniform(0, math.pi / 2), []
    for k in range(2):
        a = turn + k * math.pi / 2
        n, along = np.array([-math.sin(a), math.cos(a)]), np.array([math.cos(a), math.sin(a)])
        place = -size * 0.8
        while place < size * 0.8:
            place += log_uniform(rng, 14, 60)
            t = np.linspace(-0.9, 0.9, 8)[:, None] * size
            bend = np.cumsum(rng.normal(0, 2, (8, 1)), 0)
            roads.append((size / 2 + along * t + n * (place + bend), float(rng.choice([1.5, 2.5, 2.5, 5]))))
    roads.sort(key=lambda r: r[1])
    fill = [(255, 255, 255), (252, 214, 164), (247, 250, 191)]
    for extra, casing in ((1.2, True), (0.0, False)):
        for path, wide in roads:
            sheet.line(path, (170, 165, 160) if casing else fill[0 if wide < 4 else int(wide) % 3], wide + extra)
    for path, wide in roads[:: max(1, len(roads) // 8)]:
        if wide > 1.5 or pale:
            x, y = path[3]
            sheet.pen.text((x * 3, y * 3), word(rng), fill=(60, 55, 50), font=font(rng, 30))
    return sheet.done()


@look(held_out=True)
def contour_map(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Thin lines of equal height, every fifth thicker, with or without tints."""
    field = smooth_noise(size, rng.uniform(2, 5), rng) + 0.35 * smooth_noise(size, rng.uniform(6, 12), rng)
    level = field * rng.uniform(3, 9)
    gy, gx = np.gradient(level)
    slope = np.hypot(gy, gx) + 1e-6
    distance = np.abs(level - np.rint(level)) / slope
    wide = np.where(np.rint(level) % 5 == 0, 0.95, 0.4)
    mark = ramp(wide - distance)
    page = ramped(unit(field), palette(rng, 4)) if rng.random() < 0.4 else np.array(paper(rng), np.float32)
    return to_uint8(mix(page * np.ones((size, size, 1), np.float32), np.array(colour(rng, 0.1, 0.6)), mark))


@look()
def charts(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Line and bar charts, pies, areas: axes, ticks, legends."""
    dark = rng.random() < 0.2
    ground, pen = ((30, 32, 40), (220, 220, 225)) if dark else ((255, 255, 255), (50, 50, 55))
    sheet, colours, m = Sheet(size, ground, 3), palette(rng, 5), size * 0.12
    kind, face = rng.integers(4), font(rng, int(rng.integers(24, 36)))
    faint: Colour = tuple(int(g + 0.15 * (p - g)) for g, p in zip(ground, pen, strict=True))
    w = size - 1.5 * m
    if kind == 3:
        start = rng.uniform(0, 360)
        for k, share in enumerate(rng.dirichlet(np.ones(5)) * 360):
            box = tuple(float(v) * 3 for v in (m, m, size - m, size - m))
            sheet.pen.pieslice(box, start, start + share, fill=colours[k], outline=ground, width=4)
            start += share
        if rng.random() < 0.5:
            sheet.disc(size / 2, size / 2, w * 0.25, ground)
    else:
        for i in range(6):
            y = size - m - w * i / 5.5
            sheet.line(np.array([(m, y), (size - m / 2, y)]), faint, 0.5)
            sheet.pen.text((4, y * 3 - 16), word(rng, 3)[:4], fill=pen, font=face)
        n = int(rng.integers(4, 14))
        for k in range(int(rng.integers(1, 5))):
            if kind == 0:
                steps = np.cumsum(rng.normal(0, 1, 60))
                path = np.stack([m + np.linspace(0, w, 60), size - m - w * (0.1 + 0.7 * unit(steps))], -1)
                sheet.line(path, colours[k], rng.uniform(0.6, 2))
            elif kind == 1:
                base = [(m + w, size - m), (m, size - m)]
                path = np.stack(
                    [m + np.linspace(0, w, 20), size - m - w * (0.9 - 0.2 * k) * (0.5 + 0.4 * rng.random(20))], -1
                )
                sheet.polygon(np.concatenate([path, base]), colours[k])
            else:
                for i, value in enumerate(rng.random(n)):
                    x = m + w * (i + 0.15 + 0.2 * k) / n
                    sheet.polygon(
                        np.array(
                            [
                                (x, size - m),
                                (x, size - m - w * value * 0.9),
                                (x + w / n * 0.18, size - m - w * value * 0.9),
                                (x + w / n * 0.18, size - m),
                            ]
                        ),
                        colours[k],
                    )
        sheet.line(np.array([(m, m / 2), (m, size - m), (size - m / 2, size - m)]), pen, 1)
    sheet.pen.text((m * 3, 8), line(rng, 3), fill=pen, font=face)
    return sheet.done()


@look(marks=True)
def scatter_plot(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Clouds of small marks about a trend, axes, few labels."""
    sheet, m = Sheet(size, (255, 255, 255) if rng.random() < 0.7 else (234, 234, 242), 3), size * 0.1
    sheet.line(np.array([(m, m / 2), (m, size - m), (size - m / 2, size - m)]), (60, 60, 60), 0.8)
    for k in range(10):
        x, y = m + (size - 1.5 * m) * k / 9, size - m - (size - 1.5 * m) * k / 9
        sheet.line(np.array([(x, size - m), (x, size - m + 4)]), (60, 60, 60), 0.6)
        sheet.line(np.array([(m, y), (m - 4, y)]), (60, 60, 60), 0.6)
        if k % 3 == 0:
            sheet.pen.text((x * 3 - 8, (size - m + 5) * 3), str(k), fill=(60, 60, 60), font=font(rng, 26))
    for tint in palette(rng, int(rng.integers(1, 5))):
        count, radius, kind = int(log_uniform(rng, 8, 500)), log_uniform(rng, 0.6, 3), rng.integers(3)
        centre, a = rng.uniform(0.25, 0.75, 2) * size, rng.uniform(0, math.pi)
        points = rng.standard_normal((count, 2)) * [size * rng.uniform(0.05, 0.25), size * rng.uniform(0.02, 0.1)]
        points = points @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) + centre
        for x, y in points[(points > m).all(1) & (points < size - m).all(1)]:
            if kind == 0:
                sheet.disc(x, y, radius, tint)
            elif kind == 1:
                sheet.disc(x, y, radius, None, tint, 0.5)
            else:
                sheet.line(np.array([(x - radius, y - radius), (x + radius, y + radius)]), tint, 0.6)
                sheet.line(np.array([(x - radius, y + radius), (x + radius, y - radius)]), tint, 0.6)
    return sheet.done()
