"""Points and sparse marks on grounds that are dark, light or a photograph: the hardest to tell from noise."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Floats,
    Image,
    Sheet,
    blurred,
    colour,
    cover,
    crop,
    fractal,
    ink,
    log_uniform,
    look,
    mix,
    nearest,
    palette,
    paper,
    plane,
    ramp,
    ramped,
    scattered,
    smooth_noise,
    smoothstep,
    splat,
    to_uint8,
    turned,
    unit,
)  # fmt: skip


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


@look(marks=True)
def glitter(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Facets of which a few flash: dense, bright and dark, with small crosses of light."""
    base = np.array(colour(rng, 0.3, 0.9), np.float32)
    step = int(rng.choice([1, 1, 2, 3]))
    n = -(-size // step)
    tone = rng.gamma(rng.uniform(0.6, 3), 0.5, (n, n)).astype(np.float32)
    tone = np.kron(tone, np.ones((step, step), np.float32))[:size, :size]
    tint = (
        1 + rng.uniform(0, 0.3) * np.kron(rng.standard_normal((n, n, 3)), np.ones((step, step, 1)))[:size, :size]
    )
    canvas = (base * tone[..., None] * tint).astype(np.float32)
    if rng.random() < 0.5:
        canvas *= np.clip(0.7 + 0.4 * smooth_noise(size, 3, rng), 0.15, 1.5)[..., None]
    count = int(rng.uniform(5, 60))
    y, x = rng.uniform(0, size, (2, count))
    splat(canvas, y, x, rng.uniform(0.6, 1.8, count), np.full((count, 3), 400.0))
    return to_uint8(canvas)


def flake(x: float, y: float, reach: float, rng: np.random.Generator) -> Floats:
    """A confetto's outline: a turned rectangle or triangle."""
    corners = int(rng.choice([3, 4, 4, 4]))
    turn, thin = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1)
    angle = turn + np.arange(corners) * 2 * math.pi / corners + math.pi / 4
    px, py = np.cos(angle) * reach, np.sin(angle) * reach * thin
    return np.stack(
        [x + px * math.cos(turn) - py * math.sin(turn), y + px * math.sin(turn) + py * math.cos(turn)], -1
    )


@look(photo=True, marks=True)
def confetti(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Coloured scraps over a scene or a flat ground, many."""
    sheet = Sheet(size, ground(photo, size, rng), 2)
    colours, reach = (
        palette(rng, 8) if rng.random() < 0.5 else [colour(rng, 0.5) for _ in range(8)],
        log_uniform(rng, 2, 9),
    )
    for _ in range(int(rng.uniform(0.1, 0.5) * size * size / reach**2 / 3) + 5):
        x, y, r = *rng.uniform(0, size, 2), reach * rng.uniform(0.6, 1.4)
        if rng.random() < 0.3:
            sheet.disc(x, y, r * 0.8, colours[int(rng.integers(8))])
        else:
            sheet.polygon(flake(x, y, r, rng), colours[int(rng.integers(8))])
    return sheet.done()


@look(marks=True)
def sparse_scraps(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A handful of small marks on flat ground: crosses, rings, dots, dashes, scraps."""
    sheet = Sheet(size, paper(rng) if rng.random() < 0.5 else colour(rng), 3)
    colours = palette(rng, 5)
    for _ in range(int(log_uniform(rng, 3, 90))):
        x, y, r = *rng.uniform(0, size, 2), log_uniform(rng, 1, 7)
        tint, kind, turn = colours[int(rng.integers(5))], rng.integers(5), rng.uniform(0, math.pi)
        along = np.array([math.cos(turn), math.sin(turn)]) * r
        if kind == 0:
            sheet.disc(x, y, r * 0.6, tint)
        elif kind == 1:
            sheet.disc(x, y, r, None, tint, 0.8)
        elif kind == 2:
            sheet.line(np.array([[x, y] - along, np.array([x, y]) + along]), tint, 1)
        elif kind == 3:
            sheet.line(np.array([[x, y] - along, np.array([x, y]) + along]), tint, 1)
            sheet.line(np.array([[x, y] - along[::-1] * [1, -1], [x, y] + along[::-1] * [1, -1]]), tint, 1)
        else:
            sheet.polygon(flake(x, y, r, rng), tint)
    return sheet.done()


@look(marks=True)
def single_dots(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """One to forty small dots on white, black or a colour; hard pixels or round."""
    flat = [(255, 255, 255), (0, 0, 0), colour(rng), paper(rng)][int(rng.integers(4))]
    canvas = np.full((size, size, 3), flat, np.float32)
    count = int(log_uniform(rng, 1, 40)) + 1
    y, x = rng.uniform(0, size, (2, count))
    tint = np.array([0, 0, 0]) if sum(flat) > 380 else np.array([255, 255, 255])
    if rng.random() < 0.4:
        tint = np.array(colour(rng))
    if rng.random() < 0.3:
        step = int(rng.integers(1, 5))
        for a, b in zip(y.astype(int), x.astype(int), strict=True):
            canvas[a : a + step, b : b + step] = tint
        return to_uint8(canvas)
    return to_uint8(mix(canvas, tint, cover(size, y, x, log_uniform(rng, 0.6, 5) * rng.uniform(0.6, 1.4, count))))


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
        t, l, b, r = (
            int(np.clip(v, 0, size)) for v in (cy - radius - 2, cx - radius - 2, cy + radius + 3, cx + radius + 3)
        )
        if b <= t or r <= l:
            continue
        dy, dx = y[t:b, l:r] - cy, x[t:b, l:r] - cx
        d = np.hypot(dy, dx)
        rim = ramp(radius - d) * np.clip((d / radius) ** 6, 0, 1) * rng.uniform(0.4, 0.9)
        shine = np.clip(1.3 - np.hypot(dy + radius * 0.4, dx + radius * 0.4) / (radius * 0.22), 0, 1) * ramp(
            radius - d
        )
        canvas[t:b, l:r] = mix(canvas[t:b, l:r], np.array([235, 245, 255]), np.maximum(rim, shine * 0.9))
    return to_uint8(canvas)


@look(photo=True, marks=True)
def water_drops(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Drops on glass: each shows the scene upside down, with a dark and a bright rim."""
    image = crop(photo, size, rng)
    canvas = blurred(image, rng.uniform(3, 8)).astype(np.float32)
    y, x = plane(size)
    for _ in range(int(rng.uniform(20, 120))):
        cy, cx, radius = *rng.uniform(0, size, 2), log_uniform(rng, 2.5, 16)
        t, l, b, r = (
            int(np.clip(v, 0, size)) for v in (cy - radius - 2, cx - radius - 2, cy + radius + 3, cx + radius + 3)
        )
        if b <= t or r <= l:
            continue
        dy, dx = y[t:b, l:r] - cy, x[t:b, l:r] - cx
        d = np.hypot(dy, dx)
        sy, sx = np.clip(cy - dy * 4, 0, size - 1).astype(int), np.clip(cx - dx * 4, 0, size - 1).astype(int)
        lens = image[sy, sx] * (1 - 0.5 * (d / radius) ** 4)[..., None]
        shine = np.clip(1.5 - np.hypot(dy + radius * 0.45, dx + radius * 0.3) / (radius * 0.25), 0, 1)
        drop = mix(lens, np.array([255, 255, 255]), shine)
        canvas[t:b, l:r] = mix(canvas[t:b, l:r], drop, ramp(radius - d))
    return to_uint8(canvas)


@look(marks=True)
def sand(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Grains of several colours, lit from one side, over low ripples."""
    grain = rng.uniform(0, 0.5)
    base = np.array(colour(rng, 0.3, 0.9), np.float32) * 0.2 + np.array([150, 125, 90], np.float32) * rng.uniform(
        0.4, 1.1
    )
    values = rng.standard_normal((size, size, 1)) * rng.uniform(8, 25) + rng.standard_normal(
        (size, size, 3)
    ) * rng.uniform(2, 9)
    if grain > 0.25:
        values = blurred(to_uint8(values + 128), grain + 0.2).astype(np.float32) * 2 - 256
    ripple = fractal(size, 1.8, rng, rng.uniform(1, 4), rng.uniform(0, math.pi)) * rng.uniform(0, 18)
    specks = (rng.random((size, size, 1)) > 0.985) * rng.uniform(-90, 70)
    return to_uint8(base + values + ripple[..., None] + specks)


@look(marks=True)
def gravel(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Pebbles with shaded sides and dark gaps."""

    y, x = scattered(size, int((size / log_uniform(rng, 7, 30)) ** 2) + 4, rng)
    index, first, second = nearest(size, y, x, rng.uniform(0.8, 1.25))
    colours = np.array(palette(rng, 7), np.float32)[rng.integers(0, 7, len(y))] * rng.uniform(
        0.6, 1.1, (len(y), 1)
    )
    gap = np.clip((second - first) / rng.uniform(2, 6), 0, 1)
    side = (y[index] - plane(size)[0] + x[index] - plane(size)[1]) / (second + first + 1)
    light = (0.35 + 0.65 * gap) * (1 + 0.45 * side) + 0.04 * rng.standard_normal((size, size))
    return to_uint8(colours[index] * light[..., None])


@look(marks=True)
def bokeh_discs(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Lights out of focus: translucent discs with brighter rims on dark or colour."""
    canvas = night(size, rng) + np.array(colour(rng, 0, 0.3), np.float32)
    y, x = plane(size)
    colours, reach = palette(rng, 5), size * log_uniform(rng, 0.02, 0.12)
    for _ in range(int(log_uniform(rng, 6, 80))):
        cy, cx, radius = *rng.uniform(0, size, 2), reach * rng.uniform(0.6, 1.3)
        t, l, b, r = (
            int(np.clip(v, 0, size)) for v in (cy - radius - 2, cx - radius - 2, cy + radius + 3, cx + radius + 3)
        )
        if b <= t or r <= l:
            continue
        d = np.hypot(y[t:b, l:r] - cy, x[t:b, l:r] - cx)
        share = ramp(radius - d, rng.uniform(1, 3)) * (0.6 + 0.4 * (d / radius) ** 4) * rng.uniform(0.15, 0.8)
        canvas[t:b, l:r] += share[..., None] * np.array(colours[int(rng.integers(5))])
    return to_uint8(canvas)


@look(marks=True, held_out=True)
def polka_dots(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Rows of small dots on cloth or paper, of one or several colours."""
    pitch = log_uniform(rng, 5, 50)
    reach = int(size / pitch * 0.75) + 2
    u, v = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    angle = rng.choice([0, math.pi / 4, rng.uniform(0, math.pi)])
    v = v + (u % 2) / 2 * rng.integers(2)
    y = (u * math.cos(angle) + v * math.sin(angle)).ravel() * pitch + size / 2
    x = (v * math.cos(angle) - u * math.sin(angle)).ravel() * pitch + size / 2
    share = cover(size, y, x, np.full(len(y), pitch * rng.uniform(0.08, 0.42)))
    return to_uint8(mix(np.array(colour(rng)), np.array(paper(rng) if rng.random() < 0.4 else colour(rng)), share))


@look(marks=True)
def thin_lines(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A few hairlines on black, white or a colour: straight, curved, crossing."""
    dark = rng.random() < 0.6
    sheet = Sheet(size, colour(rng, 0, 0.1) if dark else paper(rng), 3)
    colours = [colour(rng, 0.5, 1) if dark else ink(rng) for _ in range(3)]
    for _ in range(int(log_uniform(rng, 2, 60))):
        start, end = rng.uniform(-0.2, 1.2, (2, 2)) * size
        t = np.linspace(0, 1, 20)[:, None]
        path = start + t * (end - start)
        if rng.random() < 0.5:
            path = path + np.sin(t * math.pi * rng.uniform(1, 4)) * rng.normal(0, size / 8, 2)
        sheet.line(path, colours[int(rng.integers(3))], rng.uniform(0.35, 1.2))
    return sheet.done()


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
