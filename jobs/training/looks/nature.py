"""Skies, stone, wood, water and land."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Image,
    colour,
    fractal,
    log_uniform,
    look,
    mix,
    palette,
    plane,
    ramp,
    ramped,
    smooth_noise,
    smoothstep,
    to_uint8,
    turned,
    unit,
)
from training.looks.pens import nearest, scattered


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
