"""Pages and signs: text, scores, icons, vector pictures, comics."""

from __future__ import annotations

import itertools
import math

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw

from training.looks.base import Image, colour, ink, log_uniform, look, palette, paper, plane, ramped, to_uint8
from training.looks.lettering import font, line, word
from training.looks.pens import Sheet


@look()
def text_page(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Printed pages in one of several scripts: paragraphs, heads, columns, tables; dark on light or reversed."""
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
