"""Drawn and written: pencil, ink, chalk, plans, maps, charts, pages, scores, icons, flat art."""

from __future__ import annotations

import itertools
import math

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw

from training.looks.base import (
    Colour,
    Floats,
    Image,
    Sheet,
    blurred,
    colour,
    crop,
    fractal,
    grey,
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
    stretched,
    to_uint8,
    unit,
)  # fmt: skip
from training.looks.lettering import font, line, word


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
            sheet.disc(
                *rng.uniform(0, size, 2), rng.uniform(5, size / 4), None, (255, 255, 255), rng.uniform(1, 2.5)
            )
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
def blueprint(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Plans: thin pale lines, dimensions, a grid, on blue or white."""
    blue = rng.random() < 0.7
    ground, pen = (
        (colour(rng, 0.3, 0.6) if rng.random() < 0.3 else (24, 60, 120)) if blue else (255, 255, 255),
        (230, 238, 250) if blue else ink(rng),
    )
    sheet = Sheet(size, ground, 3)
    faint: Colour = tuple(int(g + 0.18 * (p - g)) for g, p in zip(ground, pen, strict=True))  # type: ignore[assignment]
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
    faint: Colour = tuple(int(g + 0.15 * (p - g)) for g, p in zip(ground, pen, strict=True))  # type: ignore[assignment]
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


@look()
def text_page(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Printed pages: paragraphs in one of several scripts, heads, columns, tables; dark on light or the reverse."""
    back, front = (paper(rng), ink(rng)) if rng.random() < 0.8 else (colour(rng, 0, 0.2), paper(rng))
    made = PIL.new("RGB", (size, size), back)
    pen, script = ImageDraw.Draw(made), int(rng.choice([0, 0, 0, 1, 2]))
    columns, y = int(rng.choice([1, 1, 2, 3])), float(rng.integers(-10, 20))
    body = int(log_uniform(rng, 8, 24))
    face = font(rng, body, script)
    while y < size:
        kind = rng.random()
        if kind < 0.1:
            large = int(body * rng.uniform(1.3, 3))
            pen.text((8, y), line(rng, 3, script), fill=front, font=font(rng, large, script))
            y += large * 1.4
        elif kind < 0.2:
            for row in range(int(rng.integers(2, 6))):
                pen.line((6, y, size - 6, y), fill=front)
                for c in range(4):
                    pen.text(
                        (10 + c * size / 4, y + 2), word(rng, 3 if c and row else script), fill=front, font=face
                    )
                y += body * 1.5
        else:
            for _ in range(int(rng.integers(2, 9))):
                for c in range(columns):
                    text = line(rng, 14, script)
                    while text and face.getlength(text) > size / columns - 12:
                        text = text[:-2]
                    pen.text((8 + c * size / columns, y), text, fill=front, font=face)
                y += body * 1.3
        y += body * 0.8
    return np.asarray(made)


@look(held_out=True)
def sheet_music(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Staves with notes, stems, beams, bars, slurs."""
    sheet, pen = Sheet(size, paper(rng), 3), ink(rng)
    gap = rng.uniform(3.5, 8)
    y = rng.uniform(-10, 20)
    while y < size:
        for k in range(5):
            sheet.line(np.array([(0, y + k * gap), (size, y + k * gap)]), pen, 0.4)
        x, last = rng.uniform(2, 20), None
        while x < size:
            if rng.random() < 0.12:
                sheet.line(np.array([(x, y), (x, y + 4 * gap)]), pen, 0.8)
            else:
                place = y + gap / 2 * int(rng.integers(-2, 10))
                filled = rng.random() < 0.75
                head = np.array(
                    [[math.cos(t) * gap * 0.62, math.sin(t) * gap * 0.42] for t in np.linspace(0, 2 * math.pi, 14)]
                )
                head = head @ np.array([[0.94, -0.34], [0.34, 0.94]]) + [x, place]
                sheet.polygon(head, pen if filled else None, pen, 0.8)
                up = place > y + 2 * gap
                tip = (x + (gap * 0.55 if up else -gap * 0.55), place + (-3.2 * gap if up else 3.2 * gap))
                sheet.line(np.array([(tip[0], place), tip]), pen, 0.7)
                if last and rng.random() < 0.4 and last[2] == up:
                    sheet.line(np.array([last[:2], tip]), pen, gap * 0.4)
                last = (*tip, up)
            x += gap * rng.uniform(2, 4.5)
        y += gap * rng.uniform(9, 13)
    return sheet.done()


@look()
def icons(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Rows of simple signs, and logos: rounded squares, rings, arrows, stars, letters."""
    sheet, colours = Sheet(size, paper(rng) if rng.random() < 0.7 else colour(rng), 3), palette(rng, 5)
    pitch = size / int(rng.integers(1, 8))
    for cy in np.arange(pitch / 2, size, pitch):
        for cx in np.arange(pitch / 2, size, pitch):
            r, a, b = pitch * rng.uniform(0.25, 0.42), colours[int(rng.integers(5))], colours[int(rng.integers(5))]
            kind = rng.integers(7)
            if kind < 2:
                box = tuple(float(v) * 3 for v in (cx - r, cy - r, cx + r, cy + r))
                sheet.pen.rounded_rectangle(box, r * rng.uniform(0, 2), fill=a)
            elif kind < 4:
                sheet.disc(cx, cy, r, a)
            if kind in (1, 4):
                n, k = int(rng.integers(3, 9)), rng.uniform(0.35, 1)
                t = np.arange(2 * n) * math.pi / n - math.pi / 2
                radius = np.where(np.arange(2 * n) % 2, r * 0.8 * k, r * 0.8)[:, None]
                sheet.polygon(np.array([cx, cy]) + np.stack([np.cos(t), np.sin(t)], -1) * radius, b)
            elif kind in (2, 5):
                sheet.disc(cx, cy, r * 0.6, None, b, r * 0.16)
            elif kind == 6:
                sheet.line(np.array([(cx - r, cy), (cx + r, cy), (cx + r * 0.3, cy - r * 0.6)]), a, r * 0.2)
            else:
                sheet.pen.text(
                    ((cx - r * 0.4) * 3, (cy - r * 0.75) * 3),
                    word(rng)[0].upper(),
                    fill=b,
                    font=font(rng, max(8, int(r * 3.6))),
                )
    return sheet.done()


@look()
def flat_art(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Vector pictures: hills, houses, trees, sun, with flat fills or gentle gradients, hard edges."""
    y, _ = plane(size)
    sheet, colours = (
        Sheet(size, to_uint8(ramped(y / size, [colour(rng, 0.6), colour(rng, 0.8)])), 3),
        palette(rng, 7),
    )
    sheet.disc(
        rng.uniform(0.1, 0.5) * size,
        rng.uniform(0.1, 0.5) * size,
        size * rng.uniform(0.05, 0.16),
        colour(rng, 0.9),
    )
    for _ in range(int(rng.integers(0, 5))):
        x, cy, r = *rng.uniform(0, size * 0.5, 2), size * rng.uniform(0.03, 0.08)
        for k in range(4):
            sheet.disc(x + k * r * 0.8, cy + (k % 2) * r * 0.3, r * (1 - 0.15 * (k % 3)), (255, 255, 255))
    for layer in range(int(rng.integers(1, 4))):
        t = np.linspace(0, size, 30)
        top = size * (0.5 + 0.14 * layer) + size * 0.07 * np.sin(t / size * rng.uniform(3, 12) + rng.uniform(0, 6))
        sheet.polygon(np.concatenate([np.stack([t, top], -1), [(size, size), (0, size)]]), colours[layer])
        for _ in range(int(rng.integers(0, 8))):
            i = int(rng.integers(30))
            x, base, h = t[i], top[i] + 3, size * rng.uniform(0.05, 0.2)
            if rng.random() < 0.5:
                sheet.polygon(np.array([(x - h / 3, base), (x, base - h), (x + h / 3, base)]), colours[4])
            else:
                sheet.polygon(
                    np.array(
                        [
                            (x - h / 2, base),
                            (x - h / 2, base - h * 0.7),
                            (x + h / 2, base - h * 0.7),
                            (x + h / 2, base),
                        ]
                    ),
                    colours[5],
                )
                sheet.polygon(
                    np.array([(x - h * 0.6, base - h * 0.7), (x, base - h * 1.1), (x + h * 0.6, base - h * 0.7)]),
                    colours[6],
                )
                sheet.polygon(
                    np.array(
                        [
                            (x - h * 0.12, base),
                            (x - h * 0.12, base - h * 0.35),
                            (x + h * 0.12, base - h * 0.35),
                            (x + h * 0.12, base),
                        ]
                    ),
                    colours[3],
                )
    return sheet.done()


@look()
def comic_page(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Panels with black frames, speech balloons, speed lines, screen tones, bold shapes."""
    from training.looks.printing import screen

    sheet, m = Sheet(size, (255, 255, 255), 2), size * 0.02
    mono = rng.random() < 0.5
    xs = [0, size * rng.uniform(0.35, 0.65), size] if rng.random() < 0.7 else [0, size]
    ys = [0, size * rng.uniform(0.3, 0.7), size]
    for x0, x1 in itertools.pairwise(xs):
        for y0, y1 in itertools.pairwise(ys):
            box = np.array([(x0 + m, y0 + m), (x1 - m, y0 + m), (x1 - m, y1 - m), (x0 + m, y1 - m)])
            sheet.polygon(box, (255, 255, 255) if mono else colour(rng, 0.7))
            cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
            if rng.random() < 0.5:
                for a in rng.uniform(0, 2 * math.pi, 60):
                    far, near = size * 0.5, size * rng.uniform(0.12, 0.2)
                    p, q = (
                        np.clip([cx + math.cos(a) * d, cy + math.sin(a) * d], [x0 + m, y0 + m], [x1 - m, y1 - m])
                        for d in (near, far)
                    )
                    sheet.line(np.array([p, q]), (0, 0, 0), rng.uniform(0.5, 2))
            for _ in range(int(rng.integers(1, 4))):
                px, py = rng.uniform(x0 + m, x1 - m), rng.uniform(y0 + m, y1 - m)
                r = min(size * rng.uniform(0.04, 0.16), px - x0 - m, x1 - m - px, py - y0 - m, y1 - m - py)
                sheet.disc(px, py, max(r, 1), (127, 128, 129) if mono else colour(rng), (0, 0, 0), 1.5)
            sheet.polygon(box, None, (0, 0, 0), 1.6)
    for _ in range(int(rng.integers(0, 4))):
        x, y, w = *(rng.uniform(0.05, 0.6, 2) * size), size * rng.uniform(0.2, 0.4)
        sheet.pen.ellipse(
            tuple(float(v) * 2 for v in (x, y, x + w, y + w * 0.5)),
            fill=(255, 255, 255),
            outline=(0, 0, 0),
            width=3,
        )
        sheet.pen.text(
            ((x + w * 0.15) * 2, (y + w * 0.17) * 2),
            line(rng, 2)[:12].upper(),
            fill=(0, 0, 0),
            font=font(rng, int(size * 0.08)),
        )
    made = sheet.done().astype(np.float32)
    tone = (np.abs(made - [127, 128, 129]).max(-1) < 0.5)[..., None]
    dots = np.clip((screen(size, math.pi / 4, rng.uniform(3.5, 6), 0) - 0.55) * 6, 0, 1)[..., None] * 255
    return to_uint8(np.where(tone, 255 - dots, made))


@look()
def scribbles(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Handwriting and doodles in pen on plain, ruled or squared paper."""
    stock = paper(rng)
    sheet, pen = Sheet(size, stock, 3), ink(rng)
    pitch, ruled = rng.uniform(12, 44), rng.integers(3)
    rule: Colour = tuple(int(c * 0.85) for c in stock)  # type: ignore[assignment]
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
