"""Painted and made by hand: strokes, water-colour, tiles, glass, stitches, cloth, paper."""

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
    grey,
    log_uniform,
    look,
    median,
    mix,
    nearest,
    palette,
    paper,
    plane,
    ramp,
    resized,
    sampled,
    scattered,
    smooth_noise,
    smoothstep,
    soft,
    stretched,
    to_uint8,
    turned,
)  # fmt: skip


def flow(image: Image, sigma: float) -> Floats:
    """Angle along the edges of ``image``, (h, w)."""
    tone = blurred(image, sigma) @ np.array([0.299, 0.587, 0.114], np.float32)
    gy, gx = np.gradient(tone)
    j = [
        blurred(to_uint8(np.clip(v * 4 + 128, 0, 255)), sigma).astype(np.float32) - 128
        for v in (gx * gx - gy * gy, 2 * gx * gy)
    ]
    return (0.5 * np.arctan2(j[1], j[0]) + math.pi / 2).astype(np.float32)


@look(photo=True)
def brush_strokes(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Oil: layers of strokes that follow the forms, coarse to fine, with bristle marks."""
    image = crop(photo, size, rng)
    angles, top = flow(image, 4), log_uniform(rng, 8, 20)
    sheet = Sheet(size, to_uint8(blurred(image, top).astype(np.float32)), 2)
    relief = np.zeros((size, size), np.float32)
    detail = np.abs(image.astype(np.float32) - blurred(image, 4)).mean(-1)
    for width in (top, top * 0.5, top * 0.27):
        y, x = scattered(size, int((size / width) ** 2 * 0.8), rng)
        order = rng.permutation(len(y))
        y, x = y[order], x[order]
        iy, ix = np.clip(y, 0, size - 1).astype(int), np.clip(x, 0, size - 1).astype(int)
        if width < top:
            kept = detail[iy, ix] > rng.uniform(2, 14, len(y)) * width / top
            y, x, iy, ix = y[kept], x[kept], iy[kept], ix[kept]
        tints = np.clip(sampled(blurred(image, width / 3), y, x) + rng.normal(0, 7, (len(y), 1)), 0, 255).astype(
            int
        )
        turn = angles[iy, ix] + rng.normal(0, 0.15, len(y))
        length = width * rng.uniform(1.2, 3, len(y))
        for cy, cx, a, reach, tint in zip(y, x, turn, length, tints.tolist(), strict=True):
            dx, dy = math.cos(a) * reach / 2, math.sin(a) * reach / 2
            sheet.line(np.array([(cx - dx, cy - dy), (cx + dx, cy + dy)]), tuple(tint), width * 0.9)
    made = sheet.done().astype(np.float32)
    fine = fractal(size, 0.6, rng)
    relief = fine * np.clip(np.abs(np.gradient(made.mean(-1))[0]) / 10, 0.2, 1)
    return to_uint8(made + relief[..., None] * rng.uniform(1, 6))


@look(photo=True)
def palette_knife(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Broad flat patches with sharp borders and a lit ridge."""
    image = crop(photo, size, rng)
    sheet = Sheet(size, blurred(image, 8), 2)
    for width in (log_uniform(rng, 14, 36), log_uniform(rng, 8, 13)):
        y, x = scattered(size, int((size / width) ** 2 * 1.3), rng)
        tints = sampled(blurred(image, width / 4), y, x).astype(int)
        for i in rng.permutation(len(y)):
            a, w, h = rng.uniform(0, math.pi), width * rng.uniform(0.5, 1.1), width * rng.uniform(0.2, 0.5)
            box = np.array([[-w, -h], [w, -h * rng.uniform(0.5, 1)], [w, h], [-w, h]])
            rot = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
            light = int(rng.normal(0, 9))
            tint = tuple(int(np.clip(c + light, 0, 255)) for c in tints[i])
            sheet.polygon(box @ rot + [x[i], y[i]], tint)  # type: ignore[arg-type]
            if rng.random() < 0.4:
                sheet.line((box @ rot + [x[i], y[i]])[:2], tuple(min(255, c + 26) for c in tint), 0.8)  # type: ignore[arg-type]
    return sheet.done()


@look(photo=True, marks=True, held_out=True)
def pointillism(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Dabs of pure colour side by side."""
    image = crop(photo, size, rng)
    sheet = Sheet(size, paper(rng), 3)
    radius = log_uniform(rng, 1.5, 5)
    for _ in range(2):
        y, x = scattered(size, int((size / radius / 1.5) ** 2), rng)
        tints = sampled(blurred(image, radius / 2), y, x).astype(np.float32)
        tints = np.clip(
            tints.mean(-1, keepdims=True)
            + (tints - tints.mean(-1, keepdims=True)) * 1.5
            + rng.normal(0, 24, tints.shape),
            0,
            255,
        )
        for i in rng.permutation(len(y)):
            r, g, b = tints[i].astype(int).tolist()
            sheet.disc(x[i], y[i], radius * rng.uniform(0.7, 1.1), (r, g, b))
    return sheet.done()


@look(photo=True)
def water_colour(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Flat washes with dark wet edges, pigment that settles in the paper's grain, white gaps."""
    image = crop(photo, size, rng)
    smooth = median(blurred(image, 1.5), 5)
    levels = rng.integers(5, 10)
    wobble = (smooth_noise(size, size / 12, rng) * 8)[..., None]
    step = 255 / levels
    flat = np.floor((smooth + wobble) / step) * step + step / 2
    tone = flat.mean(-1)
    edge = np.clip(np.hypot(*np.gradient(blurred(to_uint8(tone), 0.7).astype(np.float32))) / 18, 0, 1)
    grain = fractal(size, 0.5, rng)
    wash = 1 + 0.05 * smooth_noise(size, 5, rng)
    light = 255 - (255 - flat) * rng.uniform(0.6, 0.9)
    values = light * wash[..., None] * (1 - 0.25 * edge[..., None]) + grain[..., None] * (
        2 + 6 * (1 - light / 255)
    )
    border = smoothstep(
        0.02,
        0.06,
        np.minimum.reduce([*plane(size), size - 1 - plane(size)[0], size - 1 - plane(size)[1]]) / size
        + 0.02 * smooth_noise(size, 9, rng),
    )
    page = np.array(paper(rng)) + 3 * grain[..., None]
    return to_uint8(mix(page, values, border) if rng.random() < 0.4 else values)


@look(photo=True)
def gouache(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Flat shapes of few colours with crisp, slightly uneven borders, on toothy paper."""
    image = crop(photo, size, rng, 2)
    table = PIL.fromarray(image).resize((48, 48), PIL.Resampling.BOX).quantize(int(rng.integers(5, 14)))
    inks = np.array(table.getpalette(), np.float32).reshape(-1, 3)
    big = resized(blurred(image, rng.uniform(1.5, 3)), size * 2).astype(np.float32)
    scores = big.reshape(-1, 3) @ inks.T - 0.5 * (inks**2).sum(-1)
    flat = to_uint8(inks)[scores.argmax(-1)].reshape(size * 2, size * 2, 3)
    made = np.asarray(PIL.fromarray(flat).reduce(2)).astype(np.float32)
    return to_uint8(made + fractal(size, 0.4, rng)[..., None] * rng.uniform(0.5, 4))


@look(photo=True)
def cel_shading(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A cartoon: few tones, bold outlines, sometimes a screen tone in the shade."""
    image = crop(photo, size, rng)
    smooth = median(blurred(image, 0.8), 5)
    levels = int(rng.integers(3, 6))
    tone = grey(smooth) * 255
    target = (np.rint(tone / 255 * levels) + 0.15) / (levels + 0.3) * 255
    flat = np.minimum(smooth * (target / (tone + 4))[..., None], 255)
    flat = flat.mean(-1, keepdims=True) + (flat - flat.mean(-1, keepdims=True)) * rng.uniform(0.9, 1.6)
    difference = np.abs(blurred(to_uint8(tone), 1.0).astype(np.float32) - blurred(to_uint8(tone), 2.2))
    outline = np.clip((difference - rng.uniform(3, 6)) / 2, 0, 1)
    if rng.random() < 0.4:
        from training.looks.printing import screen

        dots = screen(size, math.pi / 4, rng.uniform(4, 8), 0)
        flat = flat * (1 - 0.35 * (np.clip((dots - 0.6) * 8, 0, 1) * (tone < 110))[..., None])
    return to_uint8(mix(flat, np.array([15, 12, 15]), outline))


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
    values = np.broadcast_to(np.array(colours[0], np.float32), (size, size, 3))
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
def pastel(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Chalk pastel or crayon: strokes of pigment that catch on the paper's tooth."""
    image = crop(photo, size, rng)
    tooth = fractal(size, rng.uniform(0.5, 0.9), rng, rng.uniform(4, 9), rng.uniform(0, math.pi))
    cover_ = np.clip(0.6 + (tooth + rng.uniform(0.3, 1.0)) * 0.4, rng.uniform(0.4, 0.65), 1)
    flat = image.astype(np.float32)
    flat = flat.mean(-1, keepdims=True) + (flat - flat.mean(-1, keepdims=True)) * rng.uniform(1, 1.6)
    stock = np.array(paper(rng) if rng.random() < 0.6 else colour(rng, 0.1, 0.5))
    return to_uint8(mix(stock, flat, cover_))


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
