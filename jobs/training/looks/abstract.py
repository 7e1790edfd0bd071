"""Abstract pictures: blends, fractals, mirrors, shapes, waves, agate."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Floats,
    Image,
    colour,
    crop,
    fractal,
    log_uniform,
    look,
    mix,
    palette,
    paper,
    plane,
    ramp,
    ramped,
    resized,
    smooth_noise,
    to_uint8,
    turned,
    unit,
)
from training.looks.pens import Sheet


@look()
def gradients(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Linear, radial and conic blends, cut by hard edges: wallpapers, posters, glass buttons."""
    y, x = plane(size)

    def one() -> Floats:
        kind = rng.integers(3)
        cy, cx = rng.uniform(-0.2, 1.2, 2) * size
        if kind == 0:
            t = unit(turned(size, rng.uniform(0, 2 * math.pi))[0])
        elif kind == 1:
            t = np.clip(np.hypot(y - cy, x - cx) / (size * rng.uniform(0.3, 1.3)), 0, 1)
        else:
            t = np.abs((np.arctan2(y - cy, x - cx) / math.pi + rng.uniform(-1, 1) + 1) % 2 - 1)
        if rng.random() < 0.2:
            steps = int(rng.integers(3, 12))
            t = np.floor(t * steps) / steps
        return ramped(t, palette(rng, int(rng.integers(2, 5))))

    values = one()
    for _ in range(int(rng.choice([0, 1, 2, 3]))):
        kind = rng.integers(3)
        if kind == 0:
            distance = turned(size, rng.uniform(0, 2 * math.pi))[0] - rng.uniform(-0.3, 0.3) * size
        elif kind == 1:
            distance = size * rng.uniform(0.1, 0.4) - np.hypot(y - rng.uniform(0, size), x - rng.uniform(0, size))
        else:
            distance = turned(size, rng.uniform(0, 6))[0] + smooth_noise(size, 2, rng) * size * 0.08
        values = mix(values, one(), ramp(distance))
    return to_uint8(values)


@look()
def mesh_gradient(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Soft blobs of colour that run into each other; sometimes under even grain or a sharp shape."""
    n = int(rng.integers(2, 6))
    coarse = np.array(palette(rng, 6), np.uint8)[rng.integers(0, 6, (n, n))]
    values: Floats = resized(coarse, size).astype(np.float32)
    if rng.random() < 0.4:
        values = values + rng.standard_normal((size, size, 1)) * rng.uniform(1, 9)
    if rng.random() < 0.4:
        y, x = plane(size)
        radius = size * rng.uniform(0.1, 0.35)
        share = ramp(radius - np.hypot(y - rng.uniform(0.2, 0.8) * size, x - rng.uniform(0.2, 0.8) * size))
        values = mix(values, np.array(colour(rng)), share * rng.uniform(0.3, 1))
    return to_uint8(values)


@look()
def fractals(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Mandelbrot's and Julia's sets near their borders, smooth escape colours, two samples to a pixel each way."""
    steps, seen, best = 40, -1.0, None
    for _ in range(6):  # some place at the border: the one of six with the most to see
        scale, julia = log_uniform(rng, 0.02, 1.3), rng.random() < 0.5
        cx, cy = _SPOTS[int(rng.integers(len(_SPOTS)))]
        deviation = float(escape_time(cx, cy, scale, julia, 40, steps).std())
        if deviation > seen:
            seen, best = deviation, (cx, cy, scale, julia)
    assert best is not None  # six tries
    big = size * 2 if size <= 400 else size
    tone = escape_time(*best, big, steps)
    tone = np.interp(tone, np.quantile(tone[::4, ::4], np.linspace(0, 1, 9)), np.linspace(0, 1, 9)).astype(
        np.float32
    )
    made = to_uint8(ramped(tone, palette(rng, int(rng.integers(4, 9)))))
    return np.asarray(PIL.fromarray(made).reduce(2)) if big != size else made


_SPOTS = ((-0.743, 0.131), (-0.16, 1.04), (-1.25, 0.02), (0.285, 0.012), (-0.088, 0.654), (-0.5, 0.55))


def escape_time(cx: float, cy: float, scale: float, julia: bool, side: int, steps: int) -> Floats:
    """Smooth escape time in [0, 1] on a (side, side) grid about a point of the plane."""
    axis = (np.linspace(-1, 1, side, dtype=np.float32)) * (max(scale, 0.4) if julia else scale)
    c = ((cx + axis[None]) + 1j * (cy + axis[:, None])).astype(np.complex64)
    if julia:
        z, c = (c - (cx + 1j * cy)) * 1.2, np.complex64(cx + 1j * cy) * np.ones_like(c)
    else:
        z = np.zeros_like(c)
    escape, z, c = np.zeros(z.size, np.float32), z.ravel(), c.ravel()
    alive = np.arange(z.size)
    for i in range(steps):
        z = z * z + c
        power = z.real**2 + z.imag**2
        out = power > 64
        if out.any():
            escape[alive[out]] = i + 1 - np.log2(np.log2(power[out]) / 2)
            alive, z, c = alive[~out], z[~out], c[~out]
        if not len(alive):
            break
    return np.sqrt(np.clip(escape, 0, steps) / steps).reshape(side, side)


@look(photo=True)
def kaleidoscope(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A picture or shapes mirrored round a centre in 3 to 12 sectors."""
    source = crop(photo, size, rng) if photo is not None else gradients(None, size, rng)
    y, x = plane(size)
    angle, d = np.arctan2(y - size / 2, x - size / 2), np.hypot(y - size / 2, x - size / 2)
    sector = math.pi / int(rng.integers(3, 13))
    angle = np.abs((angle + math.pi) % (2 * sector) - sector) + rng.uniform(0, 6)
    rows, columns = (
        np.abs((v + size) % (2 * size - 2) - size + 1)
        for v in (size / 2 + d * np.sin(angle), size / 2 + d * np.cos(angle))
    )
    r0, c0 = np.clip(np.floor(rows), 0, size - 2).astype(int), np.clip(np.floor(columns), 0, size - 2).astype(int)
    fr, fc = np.clip(rows - r0, 0, 1)[..., None], np.clip(columns - c0, 0, 1)[..., None]
    return to_uint8(
        (source[r0, c0] * (1 - fc) + source[r0, c0 + 1] * fc) * (1 - fr)
        + (source[r0 + 1, c0] * (1 - fc) + source[r0 + 1, c0 + 1] * fc) * fr
    )


@look()
def geometry(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Abstract art: overlapping discs, bars, triangles, arcs in flat colours, with hard edges."""
    sheet, colours = Sheet(size, paper(rng) if rng.random() < 0.5 else colour(rng), 3), palette(rng, 6)
    for _ in range(int(log_uniform(rng, 3, 50))):
        x, y, r, tint = (
            *rng.uniform(-0.1, 1.1, 2) * size,
            size * log_uniform(rng, 0.02, 0.4),
            colours[int(rng.integers(6))],
        )
        kind, a = rng.integers(5), rng.uniform(0, 2 * math.pi)
        along = np.array([math.cos(a), math.sin(a)])
        if kind == 0:
            sheet.disc(x, y, r, tint)
        elif kind == 1:
            sheet.disc(x, y, r, None, tint, r * rng.uniform(0.05, 0.4))
        elif kind == 2:
            sheet.line(
                np.array([[x, y] - along * r * 2, [x, y] + along * r * 2]), tint, r * rng.uniform(0.05, 0.5)
            )
        elif kind == 3:
            corners = a + np.arange(int(rng.integers(3, 6))) * 2 * math.pi / 4.1
            sheet.polygon([x, y] + np.stack([np.cos(corners), np.sin(corners)], -1) * r, tint)
        else:
            box = tuple(float(v) * 3 for v in (x - r, y - r, x + r, y + r))
            sheet.pen.pieslice(box, math.degrees(a), math.degrees(a) + rng.uniform(60, 270), fill=tint)
    return sheet.done()


@look()
def bokashi_waves(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Layered waves or dunes with hard crests, each fading downwards."""
    y, _ = plane(size)
    values = ramped(y / size, palette(rng, 2))
    for i in range(int(rng.integers(3, 12))):
        crest = size * (0.15 + 0.08 * i) + smooth_noise(size, rng.uniform(2, 8), rng)[0] * size * 0.05
        depth = np.clip((y - crest[None]) / (size * rng.uniform(0.1, 0.5)), 0, 1).astype(np.float32)
        values = mix(values, ramped(depth, palette(rng, 2)), ramp(y - crest[None].astype(np.float32)))
    return to_uint8(values)


@look()
def labyrinth_noise(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Camouflage and agate: bands of fractal noise with crisp borders."""
    field = fractal(size, rng.uniform(1.7, 2.4), rng)
    colours = np.array(palette(rng, int(rng.integers(3, 7))), np.float32)
    level = field * rng.uniform(1, 6)
    if rng.random() < 0.5:
        level = unit(field) * (len(colours) - 0.01)
    gy, gx = np.gradient(level)
    slope = np.hypot(gy, gx) + 0.02
    base = np.floor(level)
    near = ramp((level - base) / slope - 0.5)
    a, b = colours[(base.astype(int) - 1) % len(colours)], colours[base.astype(int) % len(colours)]
    return to_uint8(mix(a, b, near))
