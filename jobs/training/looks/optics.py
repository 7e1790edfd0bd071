"""What lenses and the air do on purpose: depth of field, motion, haze, glow, flares."""

from __future__ import annotations

import math

import numpy as np

from training.looks.base import (
    Floats,
    Image,
    blurred,
    colour,
    crop,
    fractal,
    log_uniform,
    look,
    mix,
    plane,
    ramp,
    smooth_noise,
    smoothstep,
    to_uint8,
    turned,
    unit,
)


def disc_blurred(image: Image, radius: float) -> Floats:
    """Blur by a disc of ``radius`` px, through the FFT, borders mirrored."""
    reach = math.ceil(radius) + 1
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric").astype(np.float32)
    height, width, _ = padded.shape
    y, x = (
        np.minimum(np.arange(height), height - np.arange(height)),
        np.minimum(np.arange(width), width - np.arange(width)),
    )
    kernel = np.clip(radius + 0.5 - np.hypot(y[:, None], x[None]), 0, 1).astype(np.float32)
    spectrum = np.fft.rfft2(kernel / kernel.sum())[..., None]
    made = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * spectrum, (height, width), axes=(0, 1))
    return made[reach:-reach, reach:-reach].astype(np.float32)


def blurred_by(image: Image, depth: Floats, most: float) -> Image:
    """A disc blur whose radius is ``depth`` in [0, 1] times ``most`` px, from four layers."""
    radii = np.array([0.0, most * 0.3, most * 0.62, most])
    layers = [image.astype(np.float32), *(disc_blurred(image, float(r)) for r in radii[1:])]
    values, place = np.zeros(image.shape, np.float32), depth * most
    for i, layer in enumerate(layers):
        below = radii[i - 1] if i else -1.0
        above = radii[i + 1] if i < 3 else most + 1
        weight = np.minimum(
            np.clip((place - below) / (radii[i] - below), 0, 1),
            np.clip((above - place) / (above - radii[i]), 0, 1),
        )
        values += weight[..., None] * layer
    return to_uint8(values)


@look(photo=True)
def tilt_shift(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A sharp band, more and more blur on both sides, strong colours: a toy town."""
    image = crop(photo, size, rng)
    _, v = turned(size, rng.normal(0, 0.3) + (math.pi / 2 if rng.random() < 0.15 else 0))
    away = np.abs(v / size - rng.uniform(-0.25, 0.25))
    return blurred_by(
        image, smoothstep(rng.uniform(0.08, 0.2), rng.uniform(0.35, 0.6), away), log_uniform(rng, 3, 9)
    )


def subject(size: int, rng: np.random.Generator) -> Floats:
    """A distance from a subject's outline, negative inside, in shares of the size: an ellipse with bumps."""
    y, x = plane(size)
    cy, cx, ry, rx = *rng.uniform(0.3, 0.7, 2), *rng.uniform(0.16, 0.36, 2)
    distance = np.hypot((y / size - cy) / ry, (x / size - cx) / rx) - 1
    return (distance * min(ry, rx) + 0.03 * smooth_noise(size, rng.uniform(2, 6), rng)).astype(np.float32)


@look(photo=True)
def shallow_focus(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A sharp subject; blur grows smoothly with the distance from it."""
    image = crop(photo, size, rng)
    depth = smoothstep(0.0, rng.uniform(0.2, 0.6), subject(size, rng))
    return blurred_by(image, depth, log_uniform(rng, 3, 10))


@look(photo=True)
def bokeh_background(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """One picture cut out sharply before another that is far out of focus, with discs of light."""
    front, back = crop(photo, size, rng), crop(photo, size, rng)
    far = disc_blurred(back[::-1], rng.uniform(8, 20))
    for _ in range(int(rng.integers(0, 14))):
        y, x = plane(size)
        cy, cx, radius = *rng.uniform(0, size, 2), size * rng.uniform(0.02, 0.06)
        far += (
            ramp(radius - np.hypot(y - cy, x - cx), 1.5)[..., None]
            * np.array(colour(rng, 0.6))
            * rng.uniform(0.2, 0.6)
        )
    return to_uint8(mix(far, front, ramp(-subject(size, rng) * size, 1.6)))


@look(photo=True)
def panning(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A sharp subject before a background that is streaked by the camera's turn."""
    front, back = crop(photo, size, rng), crop(photo, size, rng)
    length = int(rng.uniform(20, 90))
    padded = np.pad(back, ((0, 0), (length, length), (0, 0)), mode="symmetric").astype(np.float32)
    total = np.cumsum(padded, 1)
    streaked = (total[:, length:] - total[:, :-length])[:, length // 2 : length // 2 + size] / length
    if rng.random() < 0.2:
        streaked = streaked.transpose(1, 0, 2)
    return to_uint8(mix(streaked, front, ramp(-subject(size, rng) * size, rng.uniform(1.5, 4))))


@look(photo=True, held_out=True)
def zoom_burst(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A sharp middle and rays of blur that grow outwards, as of a lens zoomed while open."""
    image = crop(photo, size, rng)
    cy, cx = rng.uniform(0.35, 0.65, 2) * size
    y, x = plane(size)
    reach, total, steps = rng.uniform(0.15, 0.4), np.zeros(image.shape, np.float32), 14
    near = smoothstep(0.1, 0.5, np.hypot(y - cy, x - cx) / size)
    for step in np.linspace(0, reach, steps):
        scale = 1 - step * near
        rows, columns = cy + (y - cy) * scale, cx + (x - cx) * scale
        total += image[
            np.clip(np.rint(rows), 0, size - 1).astype(int), np.clip(np.rint(columns), 0, size - 1).astype(int)
        ]
    return to_uint8(total / steps)


@look(photo=True)
def haze(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Fog or mist that grows with height or with drifting banks; contrast is lost, detail stays."""
    image = crop(photo, size, rng).astype(np.float32)
    tint = np.array(colour(rng, 0.7, 1)) * 0.3 + 165
    share = rng.uniform(0.2, 0.6) + 0.25 * unit(turned(size, rng.normal(-math.pi / 2, 0.4))[0])
    if rng.random() < 0.6:
        share = share + 0.12 * fractal(size, 2.0, rng, 2)
    return to_uint8(mix(image, tint, np.clip(share, 0, 0.82)))


@look(photo=True)
def glow(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Bloom: light spills softly from bright parts, the detail beneath stays sharp."""
    image = crop(photo, size, rng)
    spill = blurred(to_uint8(np.clip(image.astype(np.float32) - 110, 0, 255) * 1.5), log_uniform(rng, 5, 20))
    return to_uint8(image * rng.uniform(0.75, 1) + spill * rng.uniform(0.5, 1.2))


@look(photo=True)
def lens_flare(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A sun with rays and a row of ghosts."""
    canvas = crop(photo, size, rng).astype(np.float32) * rng.uniform(0.5, 1)
    y, x = plane(size)
    sy, sx = rng.uniform(0.05, 0.6, 2) * size
    d, angle = np.hypot(y - sy, x - sx) + 1, np.arctan2(y - sy, x - sx)
    rays = (0.5 + 0.5 * np.cos(angle * int(rng.integers(3, 12)) + rng.uniform(0, 6))) ** 8
    canvas += (255 * np.exp(-d / (size * rng.uniform(0.03, 0.12))) + 90 * rays * np.exp(-d / (size * 0.25)))[
        ..., None
    ] * np.array([1, 0.93, 0.8])
    for t in rng.uniform(0.3, 2.2, int(rng.integers(2, 8))):
        gy, gx, radius = (
            sy + (size / 2 - sy) * t * 1.4,
            sx + (size / 2 - sx) * t * 1.4,
            size * rng.uniform(0.01, 0.1),
        )
        share = ramp(radius - np.hypot(y - gy, x - gx), 2) * rng.uniform(0.05, 0.25)
        canvas += share[..., None] * np.array(colour(rng, 0.6))
    return to_uint8(canvas)
