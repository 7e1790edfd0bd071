"""Printed pictures: screens, dithers, hatching, stipples and spot colours. From a photograph."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    cover,
    crop,
    grey,
    ink,
    log_uniform,
    look,
    mix,
    palette,
    paper,
    plane,
    ramp,
    resized,
    sampled,
    scattered,
    smooth_noise,
    stretched,
    to_uint8,
    turned,
)  # fmt: skip


def screen(size: int, angle: float, pitch: float, shape: int) -> Floats:
    """A halftone threshold in [0, 1] of ``pitch`` px: 0 round dots, 1 lines, 2 diamonds, 3 squares, 4 rings."""
    u, v = turned(size, angle)
    a, b = np.cos(u * (2 * math.pi / pitch)), np.cos(v * (2 * math.pi / pitch))
    if shape == 1:
        wave = b
    elif shape == 2:
        wave = np.arccos(np.clip(a, -1, 1)) + np.arccos(np.clip(b, -1, 1))
        wave = 1 - wave / math.pi
    elif shape == 3:
        wave = np.minimum(a, b)
    else:
        wave = (a + b) / 2
    # Equal area at every level: the threshold is the wave's own rank.
    ordered = np.sort(wave.ravel()[:: max(1, wave.size // 4096)])
    return np.interp(wave, ordered, np.linspace(0, 1, len(ordered))).astype(np.float32)


def screened(tone: Floats, threshold: Floats, pitch: float) -> Floats:
    """Ink coverage in [0, 1] for darkness ``tone``, anti-aliased over about a pixel."""
    return np.clip((tone - (1 - threshold)) * pitch / 2.2 + 0.5, 0, 1)


@look(photo=True)
def halftone_dots(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """One ink, round or square dots at 3.5 to 14 px."""
    tone = 1 - stretched(grey(crop(photo, size, rng)), rng)
    pitch = log_uniform(rng, 3.5, 14)
    soft = resized(resized(tone, max(4, int(size / pitch * 1.5)), PIL.Resampling.BOX), size)
    threshold = screen(size, rng.uniform(0, math.pi / 2), pitch, int(rng.choice([0, 0, 2, 3])))
    return to_uint8(mix(np.array(paper(rng)), np.array(ink(rng)), screened(soft, threshold, pitch)))


@look(photo=True, held_out=True)
def halftone_lines(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Lines that swell with the tone, straight, waving or round a centre."""
    tone = 1 - stretched(grey(blurred(crop(photo, size, rng), 1.2)), rng)
    pitch, (u, v) = log_uniform(rng, 4, 12), turned(size, rng.uniform(0, math.pi))
    kind = rng.integers(3)
    if kind == 1:
        v = v + rng.uniform(2, 12) * np.sin(u * (2 * math.pi / rng.uniform(30, 150)))
    elif kind == 2:
        v = np.hypot(u - rng.uniform(-0.3, 0.3) * size, v - rng.uniform(-0.3, 0.3) * size)
    distance = np.abs((v / pitch) % 1 - 0.5) * pitch
    a, b = np.array(paper(rng)), np.array(ink(rng))
    if rng.random() < 0.2:
        a, b, tone = b, a, 1 - tone
    return to_uint8(mix(a, b, ramp(tone * pitch * 0.5 - distance)))


@look(photo=True)
def halftone_cmyk(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Four inks at their angles, 3.5 to 10 px; sometimes out of register as in cheap comics."""
    image = crop(photo, size, rng).astype(np.float32) / 255
    pitch, shape = log_uniform(rng, 3.5, 10), int(rng.choice([0, 0, 0, 2]))
    inks = np.array([[0, 0.65, 0.92], [0.9, 0.05, 0.5], [1, 0.93, 0.05], [0.08, 0.08, 0.1]], np.float32)
    black = 1 - image.max(-1)
    tones = [*np.moveaxis((1 - image - black[..., None]) / (1 - black[..., None] + 1e-3), -1, 0), black]
    page = np.broadcast_to(np.array(paper(rng), np.float32) / 255, image.shape)
    turn = rng.uniform(0, math.pi / 2)
    for tone, angle, pigment in zip(tones, (15, 75, 0, 45), inks, strict=True):
        threshold = screen(size, turn + math.radians(angle), pitch, shape)
        share = screened(np.ascontiguousarray(tone), threshold, pitch)
        page = page * mix(np.ones(3), pigment, share)
    return to_uint8(page * 255)


_BAYER = np.array([[0]])
for _ in range(3):
    _BAYER = np.block([[4 * _BAYER, 4 * _BAYER + 2], [4 * _BAYER + 3, 4 * _BAYER + 1]])


@look(photo=True)
def ordered_dither(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Bayer's matrices of 2 to 8, few levels a channel or two inks, pixels of 1 to 4."""
    scale = int(rng.choice([1, 1, 2, 3, 4]))
    n = -(-size // scale)
    small = resized(crop(photo, size, rng), n, PIL.Resampling.BOX)
    side = int(rng.choice([2, 4, 8]))
    matrix = (
        _BAYER[:side, :side] / 64
        if side == 8
        else np.argsort(np.argsort(_BAYER[:side, :side].ravel())).reshape(side, side) / side**2
    )
    threshold = np.tile(matrix, (n // side + 1, n // side + 1))[:n, :n].astype(np.float32)
    if rng.random() < 0.5:
        share = (stretched(grey(small), rng) > threshold * 0.98 + 0.01).astype(np.float32)
        values = mix(np.array(ink(rng)), np.array(paper(rng) if rng.random() < 0.5 else colour(rng, 0.6)), share)
    else:
        levels = int(rng.integers(1, 5))
        values = np.floor(small / 255 * levels + threshold[..., None]) / levels * 255
    return np.repeat(np.repeat(to_uint8(values), scale, 0), scale, 1)[:size, :size]


@look(photo=True)
def error_diffusion(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Floyd and Steinberg's dither to 2 to 16 colours, the picture's own or a machine's, pixels of 1 to 4."""
    scale = int(rng.choice([1, 1, 2, 3, 4]))
    n = -(-size // scale)
    small = PIL.fromarray(resized(crop(photo, size, rng), n, PIL.Resampling.LANCZOS))
    if rng.random() < 0.25:
        made = small.convert("1").convert("RGB")
    elif rng.random() < 0.5:
        chosen = [*palette(rng, int(rng.integers(2, 9))), (0, 0, 0), (255, 255, 255)]
        table = PIL.new("P", (1, 1))
        table.putpalette(np.resize(np.array(chosen, np.uint8), 768).tolist())
        made = small.quantize(palette=table).convert("RGB")
    else:
        table = small.quantize(int(rng.integers(2, 17)))
        made = small.quantize(palette=table, dither=PIL.Dither.FLOYDSTEINBERG).convert("RGB")
    return np.repeat(np.repeat(np.asarray(made), scale, 0), scale, 1)[:size, :size]


@look(photo=True)
def blue_noise_dither(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Two to four levels by a noise threshold whose low frequencies were taken: even grain, no rows."""
    noise = rng.random((size, size), dtype=np.float32)
    noise -= blurred((noise * 255).astype(np.uint8), 1.5).astype(np.float32) / 255
    threshold = np.argsort(np.argsort(noise.ravel())).reshape(size, size).astype(np.float32) / size**2
    tone, levels = stretched(grey(crop(photo, size, rng)), rng), int(rng.integers(1, 4))
    share = np.floor(tone * levels + threshold * 0.999) / levels
    return to_uint8(mix(np.array(ink(rng)), np.array(paper(rng)), share.astype(np.float32)))


def strokes(tone: Floats, size: int, layers: list[tuple[float, float]], pitch: float, width: float, wobble: float,
            rng: np.random.Generator) -> Floats:  # fmt: skip
    """Ink of hatching layers (angle, least darkness): lines of ``width`` px that fade where it is lighter."""
    page = np.zeros((size, size), np.float32)
    for angle, least in layers:
        _u, v = turned(size, angle)
        v = v + wobble * smooth_noise(size, 6, rng)
        number = np.floor(v / pitch)
        distance = np.abs(v / pitch - number - 0.5) * pitch
        # Every line ends by itself: a threshold of its own.
        jitter = ((number * 0.618034) % 1 - 0.5) * 0.18
        deep = np.clip((tone - least + jitter) * 4, 0, 1)
        page = np.maximum(page, ramp(width * (0.35 + 0.65 * deep) / 2 - distance) * (deep > 0.02))
    return page


@look(photo=True)
def hatching(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Lines of one direction, denser layers in the shade."""
    tone = 1 - stretched(grey(blurred(crop(photo, size, rng), rng.uniform(1, 3))), rng)
    angle, pitch = rng.uniform(0, math.pi), log_uniform(rng, 3.5, 9)
    layers = [(angle + rng.normal(0, 0.03), least) for least in np.linspace(0.15, 0.8, int(rng.integers(2, 4)))]
    page = strokes(tone, size, layers, pitch, rng.uniform(0.9, 2.2), rng.uniform(0, 2), rng)
    return to_uint8(mix(np.array(paper(rng)), np.array(ink(rng)), page))


@look(photo=True, held_out=True)
def cross_hatching(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Two to four directions of lines, one more for every deeper shade."""
    tone = 1 - stretched(grey(blurred(crop(photo, size, rng), rng.uniform(1, 3))), rng)
    angle, count = rng.uniform(0, math.pi), int(rng.integers(2, 5))
    layers = [(angle + i * math.pi / count, least) for i, least in enumerate(np.linspace(0.15, 0.75, count))]
    page = strokes(tone, size, layers, log_uniform(rng, 3.5, 8), rng.uniform(0.8, 1.6), rng.uniform(0, 1.5), rng)
    return to_uint8(mix(np.array(paper(rng)), np.array(ink(rng)), page))


@look(photo=True)
def engraving(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A banknote's portrait: lines that follow the forms and swell in the shade."""
    tone = 1 - stretched(grey(blurred(crop(photo, size, rng), 1.5)), rng)
    form = grey(blurred(crop(photo, size, rng), 12)) if rng.random() < 0.3 else tone
    _, v = turned(size, rng.uniform(0, math.pi))
    pitch = log_uniform(rng, 3.5, 7)
    v = v + rng.uniform(10, 40) * (resized(resized(form, 12, PIL.Resampling.BOX), size))
    distance = np.abs((v / pitch) % 1 - 0.5) * pitch
    page = ramp(np.maximum(tone * 1.05 - 0.08, 0) * pitch * 0.5 - distance)
    return to_uint8(mix(np.array(paper(rng)), np.array(ink(rng)), page))


@look(photo=True, marks=True)
def stipple(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Pen dots, denser in the shade, 0.6 to 1.6 px of radius."""
    tone = 1 - stretched(grey(crop(photo, size, rng)), rng)
    radius = rng.uniform(0.6, 1.6)
    y, x = scattered(size, int(size * size / (radius * radius * 7)), rng, 0.2)
    inside = tone[np.clip(y, 0, size - 1).astype(int), np.clip(x, 0, size - 1).astype(int)]
    kept = rng.random(len(y)) < inside**1.3
    page = cover(size, y[kept], x[kept], radius * rng.uniform(0.75, 1.25, kept.sum()))
    a, b = np.array(paper(rng)), np.array(ink(rng))
    return to_uint8(mix(b, a, page) if rng.random() < 0.15 else mix(a, b, page))


@look(photo=True, marks=True, held_out=True)
def dots_by_size(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Discs on a sunflower's spiral or hexagons, as large as the picture is dark there, in its colours or one ink."""
    image = crop(photo, size, rng)
    pitch = log_uniform(rng, 5, 14)
    if rng.random() < 0.5:
        i = np.arange(int(1.8 * size * size / pitch**2))
        radius, angle = pitch * 0.56 * np.sqrt(i), i * 2.399963
        y, x = size / 2 + radius * np.sin(angle), size / 2 + radius * np.cos(angle)
    else:
        rows, columns = np.mgrid[: int(size / pitch / 0.866) + 2, : int(size / pitch) + 2]
        y, x = (rows * pitch * 0.866).ravel(), ((columns + rows % 2 / 2) * pitch).ravel()
    small = blurred(image, pitch / 3)
    tone = 1 - sampled(small, y, x).mean(-1) / 255
    share = cover(size, y, x, pitch * 0.53 * np.sqrt(np.clip(tone, 0.02, 1)), math.ceil(pitch * 0.6) + 1)
    return to_uint8(mix(np.array(paper(rng)), small if rng.random() < 0.4 else np.array(ink(rng)), share))


@look(photo=True)
def risograph(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Two or three spot inks, grain or screens, overprinted, a pixel or two out of register."""
    tone = 1 - stretched(grey(crop(photo, size, rng)), rng)
    page = np.broadcast_to(np.array(paper(rng), np.float32) / 255, (size, size, 3))
    count = int(rng.integers(2, 4))
    for number in range(count):
        shift = (int(rng.integers(-1, 2)), int(rng.integers(-1, 2)))
        part = np.roll(np.clip(tone * 1.7 - number * 0.7 / count, 0, 1), shift, (0, 1))
        if rng.random() < 0.5:
            pitch = rng.uniform(3.5, 7)
            share = screened(part, screen(size, rng.uniform(0, math.pi), pitch, 0), pitch)
        else:
            share = np.clip((part - rng.random((size, size), dtype=np.float32)) * 3 + 0.5, 0, 1) * 0.95
        pigment = np.array(colour(rng, 0.5, 1.0), np.float32) / 255
        page = page * mix(np.ones(3), pigment, share)
    return to_uint8(page * 255)


@look(photo=True)
def posterised_print(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Screen print: 3 to 6 flat inks with clean, anti-aliased edges."""
    tone = stretched(grey(blurred(crop(photo, size * 2, rng, 2), rng.uniform(2, 5))), rng)
    colours = np.array(palette(rng, int(rng.integers(3, 7))), np.uint8)
    if rng.random() < 0.6:
        colours = colours[np.argsort(colours.sum(1))]
    flat = colours[np.minimum((tone * len(colours)).astype(int), len(colours) - 1)]
    return np.asarray(PIL.fromarray(flat).reduce(2))


@look(photo=True)
def newspaper(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A coarse grey screen on tinted, fibrous paper, ink slightly uneven."""
    tone = 1 - stretched(grey(crop(photo, size, rng)), rng)
    pitch = rng.uniform(3.5, 6)
    share = screened(tone * 0.9, screen(size, math.pi / 4, pitch, 0), pitch)
    share = share * np.clip(0.85 + 0.05 * smooth_noise(size, size / 3, rng), 0, 1)
    stock = np.array([228, 222, 205]) + rng.normal(0, 8, 3)
    fibres = stock + 4 * smooth_noise(size, size / 4, rng)[..., None]
    return to_uint8(mix(fibres, np.array([30, 28, 32]), share))


@look(photo=True)
def woodcut(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Black and white with gouge marks along a flowing direction."""
    tone = stretched(grey(blurred(crop(photo, size, rng), 2)), rng)
    y, x = plane(size)
    bend = smooth_noise(size, rng.uniform(1, 3), rng) * rng.uniform(8, 25)
    angle, pitch = rng.uniform(0, math.pi), rng.uniform(5, 11)
    v = x * math.sin(angle) + y * math.cos(angle) + bend
    wave = np.abs((v / pitch) % 1 - 0.5) * 2 + 0.15 * smooth_noise(size, size / 8, rng)
    share = np.clip((tone * 1.3 - 0.15 - wave) * pitch / 2.5 + 0.5, 0, 1)
    return to_uint8(mix(np.array(ink(rng)), np.array(paper(rng)), share))
