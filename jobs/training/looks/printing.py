"""Printed pictures: screens of dots and lines, spot colours, flat inks. From a photograph."""

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
    grey,
    ink,
    log_uniform,
    look,
    mix,
    palette,
    paper,
    ramp,
    resized,
    smooth_noise,
    stretched,
    to_uint8,
    turned,
)
from training.looks.pens import cover, sampled


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


@look(photo=True, marks=True, held_out=True)
def dots_by_size(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Discs on a sunflower's spiral or hexagons, as large as the picture is dark there; its colours or one ink."""
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
