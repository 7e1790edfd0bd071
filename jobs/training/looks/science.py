"""Instruments and machines: cells, vessels, boards, spectra, scans, tracks."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Image,
    Sheet,
    blurred,
    colour,
    cover,
    fractal,
    log_uniform,
    look,
    mix,
    palette,
    plane,
    ramp,
    ramped,
    scattered,
    smooth_noise,
    splat,
    to_uint8,
    unit,
)  # fmt: skip


@look()
def cells(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Tissue under a microscope: stained bodies with dark nuclei and granules."""
    ground, stain, core = (
        np.array(c, np.float32) for c in ((240, 225, 238), colour(rng, 0.6, 0.9), colour(rng, 0.15, 0.45))
    )
    if rng.random() < 0.25:
        ground, stain, core = np.array([4, 6, 10]), np.array(colour(rng, 0.5)) * 0.6, np.array(colour(rng, 0.8))
    pitch = log_uniform(rng, 16, 50)
    ys, xs = scattered(size, int((size / pitch) ** 2) + 2, rng)
    y, x = plane(size)
    bend = (
        smooth_noise(size, size / pitch * 1.5, rng) * pitch * 0.12,
        smooth_noise(size, size / pitch * 1.5, rng) * pitch * 0.12,
    )
    values = ground * (1 + 0.03 * fractal(size, 1.2, rng))[..., None]
    for cy, cx in zip(ys, xs, strict=True):
        radius = pitch * rng.uniform(0.3, 0.6)
        t, l, b, r = (int(np.clip(v, 0, size)) for v in (cy - pitch, cx - pitch, cy + pitch + 1, cx + pitch + 1))
        if b <= t or r <= l:
            continue
        d = np.hypot(y[t:b, l:r] - cy + bend[0][t:b, l:r], x[t:b, l:r] - cx + bend[1][t:b, l:r])
        body = ramp(radius - d) * (0.45 + 0.4 * (d / radius) ** 3).clip(0, 0.9)
        values[t:b, l:r] = mix(values[t:b, l:r], stain * rng.uniform(0.85, 1.1), body)
        n = np.hypot(y[t:b, l:r] - cy - rng.normal(0, radius / 5), x[t:b, l:r] - cx - rng.normal(0, radius / 5))
        values[t:b, l:r] = mix(values[t:b, l:r], core, ramp(radius * rng.uniform(0.25, 0.5) - n, 1.5) * 0.85)
    grains = cover(size, *rng.uniform(0, size, (2, 200)), np.full(200, 0.8))
    return to_uint8(mix(values, core, grains * 0.5))


@look(held_out=True)
def vessels(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A retina, roots, rivers, lightning: trees of lines that grow thinner."""
    kind = rng.integers(3)
    y, x = plane(size)
    if kind == 0:
        disc = ramp(size * 0.49 - np.hypot(y - size / 2, x - size / 2), 2)
        ground = np.array([200, 95, 40]) * (0.8 + 0.1 * smooth_noise(size, 4, rng))[..., None] * disc[..., None]
        pen = (120, 30, 20)
    else:
        ground = ramped(unit(fractal(size, 1.8, rng)), palette(rng, 3)) * (0.35 if kind == 1 else 1)
        pen = (235, 235, 255) if kind == 1 else colour(rng, 0, 0.4)
    sheet = Sheet(size, to_uint8(ground), 2)
    stack = [
        (*(rng.uniform(0.2, 0.8, 2) * size), a, rng.uniform(2, 5))
        for a in rng.uniform(0, 6.28, int(rng.integers(3, 7)))
    ]
    drawn = 0
    while stack and drawn < 900:
        px, py, a, w = stack.pop()
        for _ in range(int(rng.integers(4, 14))):
            a += rng.normal(0, 0.22)
            qx, qy = px + math.cos(a) * 7, py + math.sin(a) * 7
            sheet.line(np.array([(px, py), (qx, qy)]), pen, w)
            px, py, w, drawn = qx, qy, w * 0.97, drawn + 1
        if w > 0.45:
            for side in (-1, 1):
                stack.append((px, py, a + side * rng.uniform(0.2, 0.8), w * rng.uniform(0.55, 0.85)))
    return sheet.done()


@look(held_out=True)
def circuit_board(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Tracks at 45 degrees, pads, holes, chips with legs, white print."""
    from training.looks.lettering import font, word

    board = [(18, 85, 45), (15, 40, 90), (30, 30, 34), (120, 20, 25)][int(rng.integers(4))]
    sheet, copper = Sheet(size, board, 3), tuple(min(255, int(c * 1.5 + 18)) for c in board)
    pitch = rng.uniform(5, 12)
    for _ in range(int(rng.uniform(20, 70))):
        place = np.rint(rng.uniform(0, size, 2) / pitch) * pitch
        path, a = [place], int(rng.integers(8))
        for _ in range(int(rng.integers(1, 5))):
            a = (a + int(rng.integers(-1, 2))) % 8
            place = place + np.rint([math.cos(a * math.pi / 4), math.sin(a * math.pi / 4)]) * pitch * int(
                rng.integers(1, 6)
            )
            path.append(place)
        sheet.line(np.array(path), copper, pitch * 0.22)  # type: ignore[arg-type]
        for x, y in (path[0], path[-1]):
            sheet.disc(x, y, pitch * 0.34, (205, 190, 120))
            sheet.disc(x, y, pitch * 0.15, (20, 20, 20))
    for _ in range(int(rng.integers(1, 6))):
        x, y = np.rint(rng.uniform(0, size, 2) / pitch) * pitch
        n, w = int(rng.integers(3, 9)), pitch * int(rng.integers(2, 5))
        for k in range(n):
            sheet.polygon(
                np.array(
                    [
                        (x - pitch * 0.6, y + k * pitch),
                        (x + w + pitch * 0.6, y + k * pitch),
                        (x + w + pitch * 0.6, y + (k + 0.45) * pitch),
                        (x - pitch * 0.6, y + (k + 0.45) * pitch),
                    ]
                ),
                (190, 190, 195),
            )
        sheet.polygon(
            np.array([(x, y - pitch * 0.4), (x + w, y - pitch * 0.4), (x + w, y + n * pitch), (x, y + n * pitch)]),
            (28, 28, 30),
        )
        sheet.pen.text((x * 3 + 6, y * 3), word(rng, 3), fill=(210, 210, 210), font=font(rng, 24))
        sheet.pen.text(
            (x * 3, (y - pitch * 1.7) * 3),
            "U" + str(int(rng.integers(1, 40))),
            fill=(240, 240, 240),
            font=font(rng, 24),
        )
    return sheet.done()


@look()
def spectrogram(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Sound as time and pitch: harmonics and bursts over noise, through a colour map."""
    y, x = plane(size)
    field = 0.12 * rng.gamma(2, 1, (size, size)).astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        start, length, base = rng.uniform(0, size), rng.uniform(20, size * 0.5), rng.uniform(6, 60)
        bend = base * (1 + 0.15 * np.sin((x - start) / rng.uniform(8, 40)))
        on = ramp(x - start, 4) * ramp(start + length - x, 4)
        for h in range(1, int(rng.integers(2, 12))):
            field += on * np.exp(-(((size - y) - bend * h) ** 2) / rng.uniform(2, 8)) / h**0.5
    maps = [
        [(0, 0, 10), (80, 10, 110), (220, 70, 60), (255, 240, 160)],
        [(68, 1, 84), (33, 145, 140), (253, 231, 37)],
        [(255, 255, 255), (0, 0, 0)],
    ]
    return to_uint8(ramped(np.clip(field, 0, 1), maps[int(rng.integers(3))]))  # type: ignore[arg-type]


@look()
def heat_map(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A matrix in colours: cells with hard borders, blocks, dendrogram lines."""
    pitch = int(rng.integers(2, 26))
    n = -(-size // pitch)
    values = smooth_noise(max(n, 4), rng.uniform(2, 8), rng)[:n, :n] + rng.uniform(0.1, 1) * rng.standard_normal(
        (n, n)
    )
    made = np.repeat(np.repeat(ramped(unit(values), palette(rng, int(rng.integers(2, 5)))), pitch, 0), pitch, 1)[
        :size, :size
    ]
    if pitch > 6 and rng.random() < 0.5:
        made[::pitch], made[:, ::pitch] = 255, 255
    return to_uint8(made)


@look()
def oscilloscope(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Glowing traces on a graticule; a heart's curve, seismographs, wave forms."""
    tint = np.array(colour(rng, 0.8, 1))
    sheet, pitch = Sheet(size, (0, 0, 0), 3), size / int(rng.integers(6, 14))
    for k in np.arange(0, size, pitch):
        for line in (np.array([(k, 0), (k, size)]), np.array([(0, k), (size, k)])):
            sheet.line(line, (34, 38, 36), 0.5)
    trace = Sheet(size, (0, 0, 0), 3)
    for _ in range(int(rng.integers(1, 5))):
        t = np.arange(0, size, 0.5)
        wave = sum(rng.normal(0, 1) * np.sin(t * rng.uniform(0.01, 0.4) + rng.uniform(0, 6)) for _ in range(3))
        if rng.random() < 0.4:
            phase = (t / rng.uniform(40, 90)) % 1
            wave = (
                5 * np.exp(-(((phase - 0.4) / 0.02) ** 2))
                - 1.2 * np.exp(-(((phase - 0.46) / 0.02) ** 2))
                + 0.7 * np.exp(-(((phase - 0.7) / 0.06) ** 2))
            )
        path = np.stack([t, size * rng.uniform(0.2, 0.8) - wave * size * 0.06], -1)
        trace.line(path, (255, 255, 255), rng.uniform(0.6, 1.2))
    core = trace.done()
    light = core / 255.0 + 0.8 * blurred(core, 3) / 255.0
    return to_uint8(sheet.done() + light * tint)


@look(marks=True)
def particle_tracks(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A bubble chamber: dotted spirals and straight tracks from vertices."""
    light = rng.random() < 0.6
    canvas = np.full((size, size, 3), 0.0, np.float32)
    for _ in range(int(rng.integers(3, 14))):
        vy, vx = rng.uniform(0, size, 2)
        for _ in range(int(rng.integers(1, 6))):
            a, curve, n = rng.uniform(0, 6.28), rng.normal(0, 0.02), int(rng.uniform(30, 260))
            step = np.arange(n)
            turn = a + curve * step * (1 + step / n * 2)
            y, x = vy + np.cumsum(np.sin(turn)) * 1.4, vx + np.cumsum(np.cos(turn)) * 1.4
            kept = rng.random(n) < rng.uniform(0.4, 1)
            splat(
                canvas,
                y[kept],
                x[kept],
                np.full(kept.sum(), 0.55),
                np.full((int(kept.sum()), 3), rng.uniform(90, 220)),
                2,
            )
    if light:
        return to_uint8(np.array([225, 222, 212]) - canvas * 0.9)
    return to_uint8(np.array(colour(rng, 0, 0.15)) + canvas)


@look(marks=True)
def point_cloud(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A laser scan: surfaces as thousands of coloured points on black or white."""
    n = int(log_uniform(rng, 600, 6000))
    dark = rng.random() < 0.7
    a, b = rng.uniform(0, 2 * math.pi, n), rng.uniform(-1, 1, n)
    kind = rng.integers(3)
    if kind == 0:
        p = np.stack([np.cos(a) * np.sqrt(1 - b * b), np.sin(a) * np.sqrt(1 - b * b), b], -1)
    elif kind == 1:
        p = np.stack([np.cos(a) * (0.7 + 0.3 * np.cos(b * 3)), b, np.sin(a) * (0.7 + 0.3 * np.cos(b * 3))], -1)
    else:
        u, v = rng.uniform(-1, 1, (2, n))
        p = np.stack([u, 0.25 * np.sin(u * 5) * np.cos(v * 4), v], -1)
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    p = p @ q
    depth = unit(p[:, 2])
    tint = ramped(depth[:, None].astype(np.float32), palette(rng, 4))[:, 0]
    y, x = size / 2 + p[:, 1] * size * 0.42, size / 2 + p[:, 0] * size * 0.42
    canvas = np.zeros((size, size, 3), np.float32)
    if dark:
        splat(canvas, y, x, np.full(n, 0.5), tint, 2)
        return to_uint8(canvas + np.array(colour(rng, 0, 0.1)))
    splat(canvas, y, x, np.full(n, 0.5), 255 - tint, 2)
    return to_uint8(255 - canvas)
