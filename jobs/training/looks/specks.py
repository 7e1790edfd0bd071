"""Grains and sparse marks: glitter, confetti, single dots, sand, gravel, hairlines."""

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
    palette,
    paper,
    plane,
    smooth_noise,
    to_uint8,
)
from training.looks.pens import Sheet, cover, nearest, scattered, splat
from training.looks.weather import ground


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
def sand(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Grains of several colours, lit from one side, over low ripples."""
    grain = rng.uniform(0, 0.5)
    base = np.array(colour(rng, 0.3, 0.9), np.float32) * 0.2 + np.array([150, 125, 90], np.float32) * rng.uniform(
        0.4, 1.1
    )
    values: Floats = rng.standard_normal((size, size, 1)) * rng.uniform(8, 25)
    values = values + rng.standard_normal((size, size, 3)) * rng.uniform(2, 9)
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
