"""Natural surfaces and skies by program: leaves, hair, grass, clouds, stone, wood, water, nebulae, frost."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Floats,
    Image,
    Sheet,
    blurred,
    colour,
    fractal,
    log_uniform,
    look,
    mix,
    nearest,
    palette,
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
from training.looks.points import add_stars, night


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
    sheet = Sheet(size, tuple(int(min(255, c * 0.45)) for c in hues[0]), 2)  # type: ignore[arg-type]
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
def clouds(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Fractal clouds on a sky; smoke; soft all over, as clouds are."""
    field = fractal(size, rng.uniform(1.4, 2.1), rng, rng.uniform(1, 3))
    u, _ = turned(size, math.pi / 2)
    sky = ramped(unit(u), palette(rng, 2) if rng.random() < 0.4 else [(60, 110, 190), (170, 205, 235)])
    share = smoothstep(rng.uniform(-0.8, 0.3), rng.uniform(0.8, 2.2), field)
    shade = 235 - 60 * smoothstep(0, 2.5, np.roll(field, (4, 3), (0, 1)))
    return to_uint8(mix(sky, shade[..., None] * np.array([1, 1, 1.02]), share * rng.uniform(0.6, 1)))


@look()
def noise_landscape(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Fractal noise through a colour map: terrain, plasma, height map with hill shading."""
    field = fractal(size, rng.uniform(1.1, 2.2), rng)
    values = ramped(unit(field), palette(rng, int(rng.integers(3, 8))))
    if rng.random() < 0.6:
        gy, gx = np.gradient(field)
        values = values * np.clip(1 + (gx + gy) * rng.uniform(2, 6), 0.3, 1.7)[..., None]
    return to_uint8(values)


@look()
def marble(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Veins in stone: folded noise, fine and coarse."""
    u, _ = turned(size, rng.uniform(0, math.pi))
    field = fractal(size, rng.uniform(1.8, 2.4), rng)
    vein = np.abs(np.sin(u * math.pi / (size * rng.uniform(0.1, 0.5)) + field * rng.uniform(1, 3)))
    fine = 1 - np.clip(np.abs(fractal(size, 2.0, rng)) * rng.uniform(6, 14), 0, 1)
    base = ramped(vein ** rng.uniform(0.3, 1.2), palette(rng, 3))
    return to_uint8(
        mix(base, np.array(colour(rng)), fine * rng.uniform(0.2, 0.8)) + 1.5 * fractal(size, 0.3, rng)[..., None]
    )


@look()
def wood(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Rings cut lengthways, pores, planks."""
    u, v = turned(size, rng.choice([0, math.pi / 2, rng.uniform(0, math.pi)]))
    field = fractal(size, 2.0, rng, 6) * rng.uniform(2, 10)
    plank = log_uniform(rng, 30, 300)
    number = np.floor(v / plank)
    shift = np.sin(number * 12.9898) * 43.7
    centre = np.hypot((u + shift * 9) / rng.uniform(5, 14), (v + field) % plank - plank * 0.5 + shift % 20)
    ring = (centre / rng.uniform(2.5, 8)) % 1
    tone = 0.62 + 0.3 * ring**2 + 0.06 * np.sin(number * 7.3)
    pores = fractal(size, 0.6, rng, 25, 0.0 if abs(float(u[0, 1] - u[0, 0])) > 0.5 else math.pi / 2)
    base = np.array([rng.uniform(120, 215), rng.uniform(80, 155), rng.uniform(40, 105)])
    gap = ramp(np.minimum(v % plank, plank - v % plank) - 0.7)
    return to_uint8(base * ((tone + 0.05 * pores) * (0.35 + 0.65 * gap))[..., None])


@look()
def water(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Waves with the sky's light on them, or a pool's bright web of caustics."""
    if rng.random() < 0.5:
        field = sum(
            np.sin(turned(size, rng.normal(math.pi / 2, 0.5))[0] * rng.uniform(0.05, 0.5) + fractal(size, 2, rng))
            for _ in range(4)
        )
        values = ramped(
            unit(field + 0.9 * fractal(size, 1.2, rng, 5, math.pi / 2)),
            [(10, 30, 60), (40, 90, 130), (120, 170, 190), (235, 245, 245)],
        )
        return to_uint8(values)
    a, b = (np.abs(fractal(size, rng.uniform(1.6, 2.0), rng)) for _ in range(2))
    web = np.exp(-a * rng.uniform(4, 9)) + 0.6 * np.exp(-b * 6)
    base = np.array([rng.uniform(0, 70), rng.uniform(110, 180), rng.uniform(150, 220)])
    return to_uint8(base * (0.75 + 0.1 * smooth_noise(size, 4, rng))[..., None] + web[..., None] * 110)


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
def cracked_mud(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Plates of dry earth, lava or old glaze: dark or glowing cracks between rough pieces."""
    ys, xs = scattered(size, int((size / log_uniform(rng, 14, 60)) ** 2) + 4, rng)
    index, first, second = nearest(size, ys, xs)
    gap = (second - first) / 2 + 0.8 * fractal(size, 1.4, rng)
    base = np.array(colour(rng, 0.3, 0.8)) * 0.4 + np.array([95, 75, 55])
    surface = base * (1 + 0.1 * fractal(size, 0.8, rng) + 0.06 * np.sin(index * 2.4))[..., None]
    crack = np.array([255, rng.uniform(60, 170), 10]) if rng.random() < 0.25 else base * 0.15
    return to_uint8(mix(crack, surface, ramp(gap - rng.uniform(0.5, 2.5), 1.6)))


@look(held_out=True)
def mountains(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Ridges behind ridges, paler with distance, a sun, trees before them."""
    y, x = plane(size)
    sky = [colour(rng, 0.5), colour(rng, 0.8)]
    canvas = ramped(y / size, sky)
    if rng.random() < 0.6:
        cy, cx, radius = size * rng.uniform(0.1, 0.4), size * rng.uniform(0.1, 0.9), size * rng.uniform(0.03, 0.1)
        canvas = mix(canvas, np.array([255, 245, 220]), ramp(radius - np.hypot(y - cy, x - cx)))
    near, layers = np.array(colour(rng, 0.05, 0.25)), int(rng.integers(3, 7))
    for i in range(layers):
        rough = sum(smooth_noise(size, c, rng)[0] / c for c in (2, 5, 12, 30, 80))
        ridge = size * (0.35 + 0.6 * i / layers) + rough * size * 0.12
        if i == layers - 1 and rng.random() < 0.6:
            ridge = (
                ridge
                - np.abs((np.arange(size) % 9) - 4.5)
                * rng.uniform(0, 3)
                * rng.random(size // 9 + 1).repeat(9)[:size]
            )
        tint = np.array(sky[1]) * (1 - (i + 1) / layers) + near * (i + 1) / layers
        canvas = mix(canvas, tint, ramp(y - ridge[None].astype(np.float32)))
    return to_uint8(canvas)


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
