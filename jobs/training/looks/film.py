"""Film, tape and false colour: grain laid evenly, tints, heat, rays, foil, double exposure."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL

from training.looks.base import (
    Floats,
    Image,
    blurred,
    crop,
    fractal,
    grey,
    look,
    mix,
    palette,
    plane,
    ramp,
    ramped,
    stretched,
    to_uint8,
    turned,
)


def grained(image: Floats, rng: np.random.Generator, strength: float, grain: float, coloured: float) -> Image:
    """Even grain of ``strength`` levels, strongest in the middle tones."""
    size = image.shape[0]
    mono = rng.standard_normal((size, size), dtype=np.float32)[..., None]
    noise = mono * (1 - coloured) + rng.standard_normal((size, size, 3), dtype=np.float32) * coloured
    if grain > 0.35:
        noise = blurred(to_uint8(noise * 32 + 128), grain).astype(np.float32) - 128
    noise = noise / (noise.std() + 1e-6)
    tone = image.mean(-1, keepdims=True) / 255
    return to_uint8(image + noise * strength * (0.5 + 2 * tone * (1 - tone)))


@look(photo=True, marks=True)
def film_grain(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Black-and-white film, sharp or soft grain all over the picture alike."""
    image = grey(crop(photo, size, rng))[..., None] * 255 * np.ones(3, np.float32)
    if rng.random() < 0.3:
        image = image * np.array([1.05, 0.97, 0.85])
    return grained(image, rng, rng.uniform(5, 18), rng.uniform(0, 1.1), 0)


@look(photo=True, marks=True, held_out=True)
def colour_film_grain(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Colour negative or slide: tinted shadows and lights, coloured grain all over alike."""
    image: Floats = crop(photo, size, rng).astype(np.float32)
    image = 255 * (image / 255) ** rng.uniform(0.8, 1.2, 3) * rng.uniform(0.85, 1, 3) + rng.uniform(0, 25, 3)
    return grained(image, rng, rng.uniform(5, 15), rng.uniform(0.3, 1.1), rng.uniform(0.3, 0.9))


@look(photo=True)
def vintage_photo(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Sepia, cyanotype or faded colours, vignette, fine grain, light leaks, a white border."""
    image = crop(photo, size, rng)
    kind = rng.integers(4)
    if kind == 0:
        values = ramped(grey(image), [(38, 22, 12), (170, 128, 86), (250, 236, 205)])
    elif kind == 1:
        values = ramped(grey(image), [(8, 22, 60), (60, 110, 170), (235, 243, 245)])
    elif kind == 2:
        values = ramped(stretched(grey(image), rng), [*sorted(palette(rng, 2), key=sum)])
    else:
        values = image * np.array([0.9, 0.85, 0.7]) + np.array([35, 28, 30])
    y, x = plane(size)
    away = np.hypot(y - size / 2, x - size / 2) / size
    values = values * (1 - rng.uniform(0, 0.9) * np.clip(away - 0.2, 0, 1))[..., None]
    if rng.random() < 0.3:
        leak = np.exp(-((turned(size, rng.uniform(0, 6))[0] / size - 0.45) ** 2) / 0.03)
        values = values + leak[..., None] * np.array([200, 80, 20])
    made = grained(values.astype(np.float32), rng, rng.uniform(0, 5), rng.uniform(0, 0.8), 0)
    if rng.random() < 0.25:
        edge = int(size * rng.uniform(0.03, 0.09))
        made = made.copy()
        made[:edge], made[-edge:], made[:, :edge], made[:, -edge:] = 245, 245, 245, 245
    return made


@look(photo=True, held_out=True)
def thermal(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """False colours of a heat camera."""
    tone = stretched(grey(blurred(crop(photo, size, rng), rng.uniform(0.3, 0.8))), rng)
    maps = [
        [(0, 0, 20), (60, 0, 140), (200, 20, 90), (255, 150, 0), (255, 255, 200)],
        [(0, 0, 130), (0, 200, 255), (60, 230, 60), (255, 230, 0), (200, 0, 0)],
    ]
    return to_uint8(ramped(tone, maps[int(rng.integers(2))]))


@look(photo=True)
def false_colours(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Negative, solarised, infra-red, X-ray, or a colour map of its own."""
    image = crop(photo, size, rng)
    kind = rng.integers(5)
    if kind == 0:
        return 255 - image
    if kind == 1:
        v = image.astype(np.float32)
        return to_uint8(np.abs(v - rng.uniform(80, 190)) * 1.6)
    if kind == 2:
        r, g, b = np.moveaxis(image.astype(np.float32), -1, 0)
        return to_uint8(np.stack([np.clip(1.6 * g - 0.3 * b, 0, 255), r * 0.7, b * 0.8], -1))
    if kind == 3:
        return to_uint8(
            ramped((1 - stretched(grey(image), rng)) ** 1.5, [(0, 2, 8), (70, 100, 130), (225, 240, 250)])
        )
    return to_uint8(ramped(stretched(grey(image), rng), palette(rng, int(rng.integers(3, 7)))))


@look(photo=True)
def video_tape(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Home video all over alike: chroma shifted sideways, faint lines, soft noise, date letters."""
    from training.looks.lettering import font

    image = crop(photo, size, rng).astype(np.float32)
    luma = grey(to_uint8(image))[..., None] * 255
    chroma = np.roll(image - luma, int(rng.integers(2, 6)), 1)
    chroma = blurred(to_uint8(chroma / 2 + 128), 2.5).astype(np.float32) * 2 - 256
    y, _ = plane(size)
    lines = 1 - rng.uniform(0.04, 0.15) * (y % 2)
    noise = rng.standard_normal((size, 1, 1)) * 2 + rng.standard_normal((size, size, 1)) * rng.uniform(1, 6)
    made = PIL.fromarray(to_uint8((luma + chroma * 1.2) * lines[..., None] + noise + 8))
    from PIL import ImageDraw

    if rng.random() < 0.6:
        ImageDraw.Draw(made).text(
            (12, size - 30),
            f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.1994",
            fill=(245, 245, 235),
            font=font(rng, 18),
        )
    return np.asarray(made)


@look(photo=True)
def hologram(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Iridescent foil: hues that run with angle and relief, fine lines, brushed metal."""
    u, _ = turned(size, rng.uniform(0, math.pi))
    relief = (
        fractal(size, rng.uniform(1.2, 2.0), rng)
        if photo is None or rng.random() < 0.5
        else grey(blurred(crop(photo, size, rng), 2)) * 4
    )
    phase = u / size * rng.uniform(1, 6) + relief * rng.uniform(0.1, 0.6)
    values = 150 + 95 * np.cos(2 * math.pi * (phase[..., None] + np.array([0, 1 / 3, 2 / 3])))
    brush = fractal(size, 0.4, rng, 30, rng.uniform(0, math.pi))
    values = mix(values, np.array([215, 218, 225]), np.full((size, size), rng.uniform(0.1, 0.5), np.float32))
    return to_uint8(values * (1 + rng.uniform(0.02, 0.1) * brush)[..., None])


@look(photo=True)
def double_exposure(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Two scenes on one negative, added, screened or one within the other's silhouette."""
    a, b = crop(photo, size, rng).astype(np.float32), crop(photo, size, rng).astype(np.float32)[:, ::-1]
    kind = rng.integers(3)
    if kind == 0:
        return to_uint8(255 - (255 - a) * (255 - b) / 255)
    if kind == 1:
        return to_uint8(a * 0.55 + b * 0.45)
    shade = ramp((stretched(grey(to_uint8(a)), rng) - 0.5) * 12)
    return to_uint8(mix(b, np.array([240, 238, 232]), shade))
