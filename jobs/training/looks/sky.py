"""Night skies: stars, their trails and charts, nebulae, aurora, fireworks."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    fractal,
    ink,
    log_uniform,
    look,
    mix,
    paper,
    plane,
    ramp,
    smooth_noise,
    smoothstep,
    to_uint8,
    turned,
    unit,
)
from training.looks.pens import Sheet, splat


def night(size: int, rng: np.random.Generator) -> Floats:
    """A dark sky: flat, or a gradient between two dark blues, violets, blacks."""
    a, b = (np.array(colour(rng, 0.0, 0.22), np.float32) * [0.7, 0.8, 1.1] for _ in range(2))
    if rng.random() < 0.3:
        b = a
    if rng.random() < 0.2:
        a = b = np.zeros(3)
    u, _ = turned(size, math.pi / 2 + rng.normal(0, 0.3))
    return mix(a, b, unit(u))


def star_colours(count: int, rng: np.random.Generator, tint: float = 0.25) -> Floats:
    """White to bluish and orange."""
    warm = rng.normal(0, tint, count)
    return np.clip(np.stack([1 + warm, np.ones(count), 1 - warm], -1), 0.4, 1.3).astype(np.float32)


def add_stars(canvas: Floats, count: int, rng: np.random.Generator, weight: Floats | None = None) -> None:
    """Stars whose brightness follows a power law, of 0.45 to 1.2 px."""
    size = canvas.shape[0]
    y, x = rng.uniform(0, size, count), rng.uniform(0, size, count)
    if weight is not None:
        kept = rng.random(count) < weight[y.astype(int), x.astype(int)]
        y, x = y[kept], x[kept]
    bright = np.minimum(rng.uniform(20, 70) / rng.random(len(y)) ** rng.uniform(0.4, 0.8), 400)
    sigma = 0.42 + 0.35 * (bright / 400) + rng.uniform(0, 0.15)
    splat(canvas, y, x, sigma, bright[:, None] * star_colours(len(y), rng), 4)


@look(marks=True)
def stars(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A clear night sky, a few to two thousand stars, sometimes a dark horizon."""
    canvas = night(size, rng)
    add_stars(canvas, int(log_uniform(rng, 12, 2000) * (size / 320) ** 2) + 1, rng)
    if rng.random() < 0.3:
        y, _ = plane(size)
        ridge = size * rng.uniform(0.7, 0.95) + size * 0.05 * smooth_noise(size, rng.uniform(3, 12), rng)[0]
        canvas = mix(canvas, np.array(colour(rng, 0, 0.08)), ramp(y - ridge[None]))
    return to_uint8(canvas)


@look(marks=True)
def milky_way(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A band of faint light, dust lanes and thousands of small stars."""
    canvas = night(size, rng)
    _, v = turned(size, rng.uniform(0, math.pi))
    band = np.exp(-((v / size / rng.uniform(0.12, 0.3)) ** 2)) * np.clip(1 + 0.5 * fractal(size, 1.6, rng), 0, 3)
    dust = smoothstep(0.2, 1.5, fractal(size, 1.5, rng)) * np.exp(-((v / size / 0.1) ** 2))
    glow = np.array(colour(rng, 0.5, 0.9), np.float32) * rng.uniform(0.15, 0.5)
    canvas = canvas + band[..., None] * glow * (1 - 0.7 * dust[..., None])
    add_stars(canvas, int(4000 * (size / 320) ** 2), rng, np.clip(band * 0.6 + 0.1, 0, 1))
    return to_uint8(canvas)


@look(marks=True)
def star_trails(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Arcs about a pole, as a camera draws them in an hour."""
    canvas, scale = to_uint8(night(size, rng)), 3
    sheet = Sheet(size, (0, 0, 0), scale)
    cx, cy = rng.uniform(-0.2, 1.2, 2) * size
    length = rng.uniform(5, 60)
    for _ in range(int(rng.uniform(60, 300))):
        radius, start = size * 1.5 * math.sqrt(rng.random()), rng.uniform(0, 360)
        value = np.clip(star_colours(1, rng)[0] * rng.uniform(40, 255), 0, 255).astype(int)
        box = tuple(float(c) * scale for c in (cx - radius, cy - radius, cx + radius, cy + radius))
        sheet.pen.arc(box, start, start + length, fill=tuple(value.tolist()), width=int(rng.integers(2, 5)))
    return to_uint8(canvas.astype(np.float32) + sheet.done())


@look(marks=True, held_out=True)
def constellation_chart(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A star map: sized points, thin figures, a grid, small labels; white on blue or black on white."""
    from training.looks.lettering import font, word

    dark = rng.random() < 0.7
    ground = colour(rng, 0.05, 0.3) if dark else paper(rng)
    line = colour(rng, 0.6, 1.0) if dark else ink(rng)
    sheet = Sheet(size, ground, 3)
    faint = tuple(int(g + 0.3 * (n - g)) for g, n in zip(ground, line, strict=True))
    for i in range(int(rng.integers(0, 7))):
        sheet.disc(size * rng.uniform(-0.1, 1.1), size * 1.2, size * (0.3 + 0.2 * i), None, faint, 0.5)
    for _ in range(int(rng.integers(2, 6))):
        start = rng.uniform(0, size, 2)
        steps = rng.normal(0, size / 9, (int(rng.integers(3, 8)), 2))
        points = start + np.cumsum(steps, 0)
        sheet.line(points, faint if rng.random() < 0.5 else line, 0.7)
        for x, y in points:
            sheet.disc(x, y, rng.uniform(1, 3), line)
        if rng.random() < 0.7:
            x, y = points[0] * sheet.scale
            sheet.pen.text((x + 9, y), word(rng), fill=line, font=font(rng, 27))
    for _ in range(int(rng.uniform(20, 200))):
        sheet.disc(rng.uniform(0, size), rng.uniform(0, size), log_uniform(rng, 0.4, 1.8), line)
    return sheet.done()


@look(marks=True)
def fireworks(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Bursts of fading trails on a night sky."""
    canvas = night(size, rng)
    sheet = Sheet(size, (0, 0, 0), 2)
    for _ in range(int(rng.integers(1, 6))):
        cx, cy, reach, tint = *rng.uniform(0.1, 0.9, 2) * size, size * rng.uniform(0.1, 0.4), colour(rng, 0.8)
        for angle in rng.uniform(0, 2 * math.pi, int(rng.uniform(20, 90))):
            far, t = reach * rng.uniform(0.5, 1), np.linspace(rng.uniform(0.1, 0.6), 1, 6)[:, None]
            path = np.array([cx, cy]) + t * far * np.array([math.cos(angle), math.sin(angle)])
            path[:, 1] += (t[:, 0] ** 2) * reach * 0.2
            for i in range(5):
                shade = tuple(int(c * (0.25 + 0.15 * i)) for c in tint)
                sheet.line(path[i : i + 2], shade, 0.8)
            sheet.disc(path[-1, 0], path[-1, 1], rng.uniform(0.5, 1.4), (255, 255, 240))
    light = sheet.done()
    return to_uint8(canvas + light + 0.8 * blurred(light, 5))


@look()
def aurora(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Curtains of light over stars and a dark ridge."""
    canvas = night(size, rng)
    add_stars(canvas, int(rng.uniform(20, 400)), rng)
    y, _x = plane(size)
    for _ in range(int(rng.integers(1, 4))):
        foot = size * rng.uniform(0.35, 0.75) + smooth_noise(size, 3, rng)[0] * size * 0.08
        rays = 0.6 + 0.4 * np.interp(np.arange(size), np.arange(0, size, 3), rng.random(len(range(0, size, 3))))
        rise = foot[None] - y
        light = np.where(rise > 0, np.exp(-rise / (size * rng.uniform(0.12, 0.3))), np.exp(rise / 5)) * rays[None]
        canvas += (
            light[..., None] * np.array([rng.uniform(10, 110), 200, rng.uniform(60, 190)]) * rng.uniform(0.4, 1)
        )
    ridge = size * rng.uniform(0.8, 0.95) + size * 0.05 * smooth_noise(size, 10, rng)[0]
    return to_uint8(mix(canvas, np.array([4, 6, 8]), ramp(y - ridge[None])))


@look(marks=True, held_out=True)
def nebula(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Coloured gas and dust with bright stars that have spikes; sometimes a spiral galaxy."""
    canvas = night(size, rng)
    for _ in range(3):
        gas = smoothstep(-0.3, 2.5, fractal(size, rng.uniform(1.4, 2), rng))
        canvas += gas[..., None] * np.array(colour(rng, 0.4, 1.0)) * rng.uniform(0.3, 0.9)
    canvas *= np.clip(1 - smoothstep(0.3, 1.8, fractal(size, 1.7, rng)), 0.1, 1)[..., None]
    if rng.random() < 0.4:
        y, x = plane(size)
        cy, cx = rng.uniform(0.3, 0.7, 2) * size
        d, a = np.hypot((y - cy) * rng.uniform(1, 2.5), x - cx) + 1, np.arctan2(y - cy, x - cx)
        arms = 0.5 + 0.5 * np.cos(2 * a - np.log(d) * rng.uniform(3, 6)) + 0.2 * fractal(size, 1.3, rng)
        canvas += (np.exp(-d / (size * 0.15)) * (60 + 150 * arms) + 255 * np.exp(-d / (size * 0.03)))[
            ..., None
        ] * np.array([0.95, 0.92, 1])
    add_stars(canvas, int(rng.uniform(100, 1500)), rng)
    sheet = Sheet(size, (0, 0, 0), 3)
    for _ in range(int(rng.integers(0, 8))):
        px, py, r = *rng.uniform(0, size, 2), rng.uniform(5, 20)
        for k in range(2):
            step = np.array([r, 0]) if k else np.array([0, r])
            sheet.line(np.array([[px, py] - step, np.array([px, py]) + step]), (150, 160, 200), 0.6)
        splat(canvas, np.array([py]), np.array([px]), np.array([1.8]), np.full((1, 3), 350.0))
    return to_uint8(canvas + sheet.done())
