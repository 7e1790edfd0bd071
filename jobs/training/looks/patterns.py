"""Ornament and mathematics: checkers, moire, op art, tilings, gradients, fractals, kaleidoscopes."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Floats,
    Image,
    Sheet,
    blurred,
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
    resized,
    scattered,
    smooth_noise,
    to_uint8,
    turned,
    unit,
)  # fmt: skip


def two(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Black and white, or two colours."""
    a, b = ((0, 0, 0), (255, 255, 255)) if rng.random() < 0.4 else (colour(rng, 0, 0.6), colour(rng, 0.4, 1))
    return np.array(a, np.float32), np.array(b, np.float32)


@look()
def checkers(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Boards of 1 to 60 px squares: straight and hard, or turned, or running away in perspective."""
    a, b = two(rng)
    y, x = plane(size)
    kind, pitch = rng.integers(3), log_uniform(rng, 2, 60)
    if kind == 0:
        step = max(1, round(pitch))
        odd = ((y // step + x // step) % 2).astype(np.float32)
        return to_uint8(mix(a, b, odd))
    u, v = turned(size, rng.uniform(0, math.pi / 2))
    if kind == 2:
        depth = 1 + np.maximum(v + size * 0.6, 0) / size * rng.uniform(0.5, 2)
        u, v = u * 1.8 / depth, (v + size) * 1.5 / depth
        pitch = max(pitch, 14)
    pitch = max(pitch, 4)
    wave = np.sin(u * math.pi / pitch) * np.sin(v * math.pi / pitch)
    gy, gx = np.gradient(wave)
    return to_uint8(mix(a, b, ramp(wave / (np.hypot(gy, gx) + 1e-3))))


@look()
def stripes(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Stripes of any width and angle, tartans, pinstripes, barcode rhythm."""
    colours = np.array(palette(rng, int(rng.integers(2, 6))), np.float32)
    u, v = turned(size, rng.choice([0.0, math.pi / 2, math.pi / 4, rng.uniform(0, math.pi)]))

    def bands(w: Floats) -> Floats:
        edge = np.cumsum(np.concatenate([[0], rng.choice([1, 2, 4, 8, 14], 8) * rng.uniform(0.8, 3)]))
        tints = colours[rng.integers(0, len(colours), 8)]
        fine = np.linspace(0, edge[-1], 512, endpoint=False)
        which = np.clip(np.searchsorted(edge, fine, side="right") - 1, 0, 7)
        place = (w % edge[-1]) / edge[-1] * 512
        table = tints[which]
        # Four samples to a pixel along the stripes' normal: anti-aliased edges.
        shift = 512 / edge[-1] * np.array([-0.375, -0.125, 0.125, 0.375])
        return np.mean([table[((place + s) % 512).astype(int)] for s in shift], 0).astype(np.float32)

    values = bands(u)
    if rng.random() < 0.4:
        twill = ((np.floor(u) + np.floor(v)) % 4 < 2)[..., None]
        values = np.where(twill, values, bands(v)) if rng.random() < 0.5 else (values + bands(v)) / 2
    return to_uint8(values)


@look(held_out=True)
def op_art(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Lines or discs bent by a bulge, spirals, rings that beat: moire on purpose."""
    a, b = two(rng)
    y, x = plane(size)
    cy, cx = rng.uniform(0.3, 0.7, 2) * size
    d, angle = np.hypot(y - cy, x - cx), np.arctan2(y - cy, x - cx)
    kind = rng.integers(4)
    pitch = log_uniform(rng, 5, 16)
    if kind == 0:
        wave = np.cos(d * 2 * math.pi / pitch + angle * int(rng.integers(1, 6)))
    elif kind == 1:
        bulge = 1 - 0.6 * np.exp(-((d / size / 0.25) ** 2))
        wave = np.cos((x - cx) * bulge * 2 * math.pi / pitch) * np.cos((y - cy) * bulge * 2 * math.pi / pitch)
    elif kind == 2:
        other = np.hypot(y - cy - size * 0.12, x - cx - size * 0.1)
        wave = np.cos(d * 2 * math.pi / pitch) * np.cos(other * 2 * math.pi / pitch)
    else:
        wave = np.cos(angle * int(rng.integers(8, 30))) * np.cos(np.log(d + 4) * rng.uniform(8, 20))
    gy, gx = np.gradient(wave)
    slope = np.hypot(gy, gx)
    return to_uint8(mix(a, b, np.where(slope < 0.9, ramp(wave / (slope + 1e-3)), 0.5).astype(np.float32)))


@look()
def zebra(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Wandering stripes and spots, as reaction and diffusion draw them on skins and shells."""
    n = size // int(rng.choice([2, 3, 4])) + 2
    field = rng.standard_normal((n, n)).astype(np.float32)
    near, far = rng.uniform(1.0, 1.8), rng.uniform(1.5, 2.2)
    for _ in range(7):
        as_bytes = to_uint8(np.tanh(field) * 110 + 128)
        field = (blurred(as_bytes, near).astype(np.float32) - blurred(as_bytes, near * far)) / 16
        field = field / (field.std() + 1e-6) * 1.5
    big = resized(field, size)
    bias = rng.choice([0.0, 0.0, 0.7, -0.7])
    gy, gx = np.gradient(big)
    share = ramp((big - bias) / (np.hypot(gy, gx) + 0.05))
    a, b = two(rng)
    return to_uint8(mix(a, b, share))


@look()
def truchet(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Tiles of quarter circles, diagonals or triangles, turned by chance; mazes."""
    pitch, kind = log_uniform(rng, 8, 50), rng.integers(3)
    sheet, colours = Sheet(size, paper(rng) if rng.random() < 0.6 else colour(rng), 3), palette(rng, 2)
    wide, pen = pitch * rng.uniform(0.08, 0.4), ink(rng) if rng.random() < 0.5 else colours[0]
    for y in np.arange(0, size, pitch):
        for x in np.arange(0, size, pitch):
            flip = rng.random() < 0.5
            s = sheet.scale
            if kind == 0:
                for cx, cy in ((x, y), (x + pitch, y + pitch)) if flip else ((x + pitch, y), (x, y + pitch)):
                    start = {(True, True): 0, (False, True): 90, (False, False): 180, (True, False): 270}[
                        (cx == x, cy == y)
                    ]
                    r = (pitch + wide) / 2
                    sheet.pen.arc(
                        tuple(float(v) * s for v in (cx - r, cy - r, cx + r, cy + r)),
                        start,
                        start + 90,
                        fill=pen,
                        width=max(1, round(wide * s)),
                    )
            elif kind == 1:
                ends = [(x, y), (x + pitch, y + pitch)] if flip else [(x + pitch, y), (x, y + pitch)]
                sheet.line(np.array(ends), pen, wide * 0.6)
            else:
                corners = [(x, y), (x + pitch, y), (x + pitch, y + pitch), (x, y + pitch)]
                k = int(rng.integers(4))
                sheet.polygon(
                    np.array([corners[k], corners[(k + 1) % 4], corners[(k + 2) % 4]]), colours[int(flip)]
                )
    return sheet.done()


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
    values = resized(coarse, size).astype(np.float32)
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


@look(held_out=True)
def tilings(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Stars and hexagons, fish scales, herringbone: ornamental tiles with lines between."""
    pitch, kind, colours = log_uniform(rng, 14, 60), rng.integers(3), palette(rng, 4)
    sheet, pen = Sheet(size, colours[3], 3), paper(rng) if rng.random() < 0.5 else ink(rng)
    wide = rng.uniform(0.4, 2)
    for row in range(-1, int(size / pitch * 2) + 2):
        for column in range(-1, int(size / pitch * 2) + 2):
            if kind == 0:
                x, y, n = column * pitch, row * pitch, 8
                t = np.arange(2 * n) * math.pi / n
                r = np.where(np.arange(2 * n) % 2, 0.34, 0.5)[:, None] * pitch
                sheet.polygon(
                    [x, y] + np.stack([np.cos(t), np.sin(t)], -1) * r, colours[(row + column) % 3], pen, wide
                )
            elif kind == 1:
                x, y = (column + (row % 2) / 2) * pitch, row * pitch * 0.866
                t = np.arange(6) * math.pi / 3 + math.pi / 6
                sheet.polygon(
                    [x, y] + np.stack([np.cos(t), np.sin(t)], -1) * pitch * 0.577,
                    colours[(row + column * 2) % 3],
                    pen,
                    wide,
                )
            else:
                x, y, h = (column - row) * pitch / 2, (column + row - 8) * pitch / 2, pitch / 2
                sheet.polygon(
                    np.array([(x, y), (x + 2 * h, y), (x + 2 * h, y + h), (x, y + h)]),
                    colours[column % 3],
                    pen,
                    wide,
                )
                sheet.polygon(
                    np.array([(x, y + h), (x + h, y + h), (x + h, y + 3 * h), (x, y + 3 * h)]),
                    colours[row % 3],
                    pen,
                    wide,
                )
    return sheet.done()


@look()
def spirograph(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Guilloches and rosettes in hairlines."""
    dark = rng.random() < 0.4
    sheet, colours = Sheet(size, colour(rng, 0, 0.15) if dark else paper(rng), 3), palette(rng, 3)
    for k in range(int(rng.integers(1, 5))):
        t = np.linspace(0, 2 * math.pi * int(rng.integers(5, 18)), 900)
        r, ratio, arm = size * rng.uniform(0.1, 0.4), rng.uniform(1.5, 9), rng.uniform(0.1, 0.9)
        x = np.cos(t) + arm * np.cos(t * ratio)
        y = np.sin(t) - arm * np.sin(t * ratio)
        sheet.line(
            rng.uniform(0.3, 0.7, 2) * size + np.stack([x, y], -1) * r / (1 + arm),
            colours[k % 3],
            rng.uniform(0.35, 0.9),
        )
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


@look(marks=True)
def terrazzo(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Angular chips of several sizes in a plain ground, speckled granite."""
    colours, reach = palette(rng, 5), log_uniform(rng, 2.4, 12)
    sheet = Sheet(size, paper(rng) if rng.random() < 0.5 else colour(rng), 3)
    y, x = scattered(size, int((size / reach / rng.uniform(1.8, 4)) ** 2) + 3, rng)
    for cy, cx in zip(y, x, strict=True):
        a = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 6))))
        shape = [cx, cy] + np.stack([np.cos(a), np.sin(a)], -1) * reach * rng.uniform(0.3, 1.1)
        sheet.polygon(shape, colours[int(rng.integers(5))])
    return sheet.done()


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
