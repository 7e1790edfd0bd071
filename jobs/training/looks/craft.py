"""Made by hand: tiles, glass, triangles, stitches, cloth, cut paper, collage."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    crop,
    fractal,
    grey,
    log_uniform,
    look,
    mix,
    palette,
    paper,
    plane,
    ramp,
    resized,
    smooth_noise,
    soft,
    stretched,
    to_uint8,
    turned,
)
from training.looks.painting import flow
from training.looks.pens import Sheet, nearest, sampled, scattered


@look(photo=True)
def mosaic(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Tesserae in uneven rows with grout between, each of one colour, edges lit."""
    image = crop(photo, size, rng)
    pitch = log_uniform(rng, 5, 18)
    if rng.random() < 0.5:
        u, v = turned(size, rng.uniform(0, math.pi / 2))
        bend = smooth_noise(size, 2, rng) * pitch
        u, v = (u + bend) / pitch, (v + bend[::-1]) / pitch
        fu, fv = u - np.floor(u), v - np.floor(v)
        gap = np.minimum(np.minimum(fu, 1 - fu), np.minimum(fv, 1 - fv)) * pitch
        key = (np.floor(u).astype(np.int64) * 7919 + np.floor(v).astype(np.int64)).ravel()
        _, index = np.unique(key, return_inverse=True)
        index = index.reshape(size, size)
    else:
        ys, xs = scattered(size, int((size / pitch) ** 2), rng, 0.1)
        index, first, second = nearest(size, ys, xs)
        gap = (second - first) / 2
    count = np.bincount(index.ravel(), minlength=int(index.max()) + 1)
    means = (
        np.stack([np.bincount(index.ravel(), image[..., c].ravel(), len(count)) for c in range(3)], -1)
        / np.maximum(count, 1)[:, None]
    )
    means = means * rng.uniform(0.92, 1.08, (len(means), 1))
    flat = means[index] * (1 + rng.uniform(0, 0.2) * np.clip(1 - gap / 2.5, 0, 1))[..., None]
    grout = np.array(colour(rng, 0.1, 0.9)) * 0.4 + 70 + 4 * rng.standard_normal((size, size, 1))
    return to_uint8(mix(grout, flat, ramp(gap - rng.uniform(0.5, 1.3))))


@look(photo=True)
def stained_glass(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Panes of glowing colour between dark leads."""
    image = crop(photo, size, rng)
    ys, xs = scattered(size, int((size / log_uniform(rng, 10, 50)) ** 2) + 4, rng)
    index, first, second = nearest(size, ys, xs)
    tints = sampled(blurred(image, 4), ys, xs).astype(np.float32)
    if photo is None or rng.random() < 0.3:
        tints = np.array(palette(rng, 8), np.float32)[rng.integers(0, 8, len(ys))]
    tints = tints.mean(-1, keepdims=True) + (tints - tints.mean(-1, keepdims=True)) * 1.5
    glass = tints[index] * (1 + 0.08 * smooth_noise(size, 20, rng))[..., None] * rng.uniform(1, 1.3)
    lead = ramp((second - first) / 2 - rng.uniform(0.8, 2.5))
    return to_uint8(mix(np.array([20, 18, 20]), glass, lead))


@look(photo=True, held_out=True)
def voronoi_facets(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Crystal: flat cells of the picture's colours, no leads, hard or anti-aliased borders."""
    image = blurred(crop(photo, size, rng, 2), 2)
    ys, xs = scattered(size, int(log_uniform(rng, 150, 2500)), rng)
    index, _, _ = nearest(size, ys, xs)
    made = sampled(image, ys, xs)[index]
    if rng.random() < 0.3:
        return made
    parts = [
        sampled(image, ys, xs)[nearest(size, ys + a, xs + b)[0]].astype(np.float32)
        for a, b in ((0.3, 0.3), (-0.3, -0.3))
    ]
    return to_uint8(np.mean(parts, 0))


@look(photo=True)
def low_poly(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Triangles of one colour each, on a jittered grid; sometimes a slight gradient or thin edges."""
    image = crop(photo, size, rng)
    sheet, n = Sheet(size, (0, 0, 0), 3), int(log_uniform(rng, 6, 34))
    grid = np.stack(np.meshgrid(np.linspace(-0.1, 1.1, n + 1), np.linspace(-0.1, 1.1, n + 1)), -1) * size
    grid[1:-1, 1:-1] += rng.uniform(-0.42, 0.42, (n - 1, n - 1, 2)) * size * 1.2 / n
    small, edges = blurred(image, size / n / 5), rng.random() < 0.2
    light = rng.uniform(0, 0.15)
    for i in range(n):
        for j in range(n):
            a, b, c, d = grid[i, j], grid[i, j + 1], grid[i + 1, j + 1], grid[i + 1, j]
            for three in ([a, b, c], [a, c, d]) if rng.random() < 0.5 else ([a, b, d], [b, c, d]):
                x, y = np.mean(three, 0)
                tint = sampled(small, np.array([y]), np.array([x]))[0] * (1 + rng.normal(0, light))
                r, g, b_ = np.clip(tint, 0, 255).astype(int).tolist()
                sheet.polygon(np.array(three), (r, g, b_), (255, 255, 255) if edges else (r, g, b_), 0.4)
    return sheet.done()


@look(photo=True)
def cross_stitch(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Crosses of thread on white cloth with holes."""
    pitch = int(rng.integers(5, 13))
    n = -(-size // pitch)
    small = (
        PIL.fromarray(resized(crop(photo, size, rng), n, PIL.Resampling.BOX))
        .quantize(int(rng.integers(6, 28)))
        .convert("RGB")
    )
    flat = np.repeat(np.repeat(np.asarray(small), pitch, 0), pitch, 1)[:size, :size].astype(np.float32)
    y, x = (v % pitch - pitch / 2 + 0.5 for v in plane(size))
    width = pitch * rng.uniform(0.16, 0.24)
    one, two = np.abs(x + y) / 1.414, np.abs(x - y) / 1.414
    shade = np.where(one < width, 1.06 - 0.35 * (one / width) ** 2, 0.92 - 0.35 * (two / width) ** 2)
    thread = np.maximum(ramp(width - one), ramp(width - two))
    cloth = (
        np.array(paper(rng))
        * (1 - 0.35 * (np.hypot(np.abs(y) - pitch / 2, np.abs(x) - pitch / 2) < pitch * 0.14))[..., None]
    )
    return to_uint8(mix(cloth, flat * shade[..., None], thread))


@look(photo=True)
def knit(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Stockinette: columns of V-shaped loops with shaded sides."""
    pitch = log_uniform(rng, 6, 16)
    y, x = plane(size)
    column = x / pitch
    f = np.abs((column % 1) - 0.5) * 2
    v = y / pitch * 1.25 - f * 0.9
    row = np.floor(v)
    inside = v - row - 0.5
    small = resized(
        resized(crop(photo, size, rng), int(size / pitch), PIL.Resampling.BOX), size, PIL.Resampling.NEAREST
    )
    if rng.random() < 0.6:
        colours = np.array(palette(rng, int(rng.integers(2, 5))), np.uint8)
        pick = (
            row.astype(int) // int(rng.integers(1, 9))
            + (column.astype(int) // int(rng.integers(2, 8))) * int(rng.integers(0, 2))
        ) % len(colours)
        small = colours[pick]
    shade = (1 - 1.9 * inside**2) * (0.72 + 0.45 * np.maximum(np.sin(f * math.pi), 0) ** 0.7)
    fibre = 1 + 0.06 * fractal(size, 0.5, rng)
    return to_uint8(small * (shade * fibre)[..., None])


@look(photo=True)
def weave(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Plain, twill or basket weave; warp and weft of two colours or printed with a picture."""
    pitch = log_uniform(rng, 3.5, 12)
    y, x = plane(size)
    u, v = x / pitch, y / pitch
    iu, iv = np.floor(u).astype(int), np.floor(v).astype(int)
    kind = int(rng.integers(3))
    over = [(iu + iv) % 2 == 0, (iu + iv) % 4 < 2, (iu // 2 + iv // 2) % 2 == 0][kind]
    fu, fv = np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5)
    shade = np.where(over, 1 - 1.8 * fu**2 - 0.5 * fv**2, 0.9 - 1.8 * fv**2 - 0.5 * fu**2)
    if photo is not None and rng.random() < 0.5:
        values = crop(photo, size, rng).astype(np.float32)
    else:
        a, b = palette(rng, 2)
        values = np.where(over[..., None], np.array(a), np.array(b)).astype(np.float32)
    fibre = 1 + 0.05 * rng.standard_normal((size, size))
    return to_uint8(values * (shade * fibre)[..., None])


@look(photo=True, held_out=True)
def embroidery(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Satin stitch: short shiny threads laid along the forms on cloth."""
    image = crop(photo, size, rng)
    angles, width = flow(image, 5), rng.uniform(1.3, 2.4)
    sheet = Sheet(size, blurred(image, 6), 2)
    y, x = scattered(size, int((size / width) ** 2 / 9), rng)
    tints = sampled(blurred(image, 2), y, x).astype(np.float32)
    turn = angles[np.clip(y, 0, size - 1).astype(int), np.clip(x, 0, size - 1).astype(int)]
    for i in rng.permutation(len(y)):
        dx, dy = math.cos(turn[i]) * 6, math.sin(turn[i]) * 6
        path = np.array([(x[i] - dx, y[i] - dy), (x[i], y[i]), (x[i] + dx, y[i] + dy)])
        base = tints[i] + rng.normal(0, 8)
        for shade, thick, part in ((0.65, width * 1.4, path[::2]), (1.1, width * 0.8, path[::2])):
            r, g, b = np.clip(base * shade, 0, 255).astype(int).tolist()
            sheet.line(part, (r, g, b), thick)
    return sheet.done()


@look(photo=True)
def canvas_print(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A picture on canvas, linen or rough paper: the same relief all over."""
    image, kind = crop(photo, size, rng).astype(np.float32), rng.integers(3)
    y, x = plane(size)
    pitch = rng.uniform(2.6, 6)
    if kind == 0:
        relief = np.sin(x * 2 * math.pi / pitch + 0.5 * smooth_noise(size, 30, rng)) * np.sin(
            y * 2 * math.pi / pitch + 0.5 * smooth_noise(size, 30, rng)
        )
    elif kind == 1:
        relief = 0.6 * fractal(size, 0.5, rng, 12, 0) + 0.6 * fractal(size, 0.5, rng, 12, math.pi / 2)
    else:
        paper_height = fractal(size, rng.uniform(0.5, 1.0), rng)
        relief = (paper_height - np.roll(paper_height, (1, 1), (0, 1))) * 2
    return to_uint8(image * (1 + relief * rng.uniform(0.03, 0.13))[..., None])


@look(photo=True)
def cut_paper(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Layers of coloured paper with soft shadows, cut by smooth curves or from a picture's tones."""
    big, count = size * 2, int(rng.integers(3, 8))
    if photo is not None and rng.random() < 0.4:
        tone = stretched(grey(blurred(crop(photo, big, rng, 2), 7)), rng)
    else:
        tone = np.clip(0.5 + smooth_noise(big, rng.uniform(2, 6), rng) * 0.25, 0, 1)
        if rng.random() < 0.4:
            tone = np.clip(tone * 0.5 + (plane(big)[0] / big) * 0.6, 0, 1)
    colours = palette(rng, count + 1)
    values: Floats = np.broadcast_to(np.array(colours[0], np.float32), (size, size, 3))
    drop = int(rng.integers(2, 6))
    for i, level in enumerate(np.linspace(0.2, 0.85, count)):
        mask = (
            np.asarray(PIL.fromarray(((tone > level) * 255).astype(np.uint8)).reduce(2)).astype(np.float32) / 255
        )
        shadow = np.roll(soft(mask, rng.uniform(2, 5)), (drop, drop), (0, 1)) * 0.45
        values = values * (1 - shadow[..., None])
        sheet = np.array(colours[i + 1]) + fractal(size, 0.4, rng)[..., None] * 2.5
        values = mix(values, sheet, mask)
    return to_uint8(values)


@look(photo=True)
def collage(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Cut-outs with hard edges: pieces of pictures, plain papers, stripes."""
    values = np.empty((size, size, 3), np.uint8)
    values[:] = paper(rng)
    for _ in range(int(rng.integers(3, 12))):
        corners, centre = int(rng.integers(3, 7)), rng.uniform(0, size, 2)
        angle = np.sort(rng.uniform(0, 2 * math.pi, corners))
        shape = centre + np.stack([np.cos(angle), np.sin(angle)], -1) * size * rng.uniform(0.1, 0.5)
        sheet = Sheet(size, (0, 0, 0), 3)
        sheet.polygon(shape, (255, 255, 255))
        mask = sheet.done()[..., 0].astype(np.float32) / 255
        kind = rng.integers(4)
        if kind < 2:
            piece = crop(photo, size, rng)
        elif kind == 2:
            piece = np.broadcast_to(np.array(colour(rng), np.uint8), (size, size, 3))
        else:
            u, _ = turned(size, rng.uniform(0, math.pi))
            piece = to_uint8(mix(np.array(colour(rng)), np.array(colour(rng)), ramp(np.abs(u % 16 - 8) - 4)))
        values = to_uint8(mix(values, piece, mask))
    return values
