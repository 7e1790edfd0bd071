"""What lenses, films and light do on purpose: depth of field, motion, grain, haze, glow, colour of film and rays."""

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
    mix,
    palette,
    plane,
    ramp,
    ramped,
    smooth_noise,
    smoothstep,
    stretched,
    to_uint8,
    turned,
    unit,
)  # fmt: skip


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
    image = crop(photo, size, rng).astype(np.float32)
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
    return to_uint8(ramped(tone, maps[int(rng.integers(2))]))  # type: ignore[arg-type]


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


@look(photo=True)
def light_trails(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Long exposure of a road or a torch: bundles of smooth bright lines on dark."""
    canvas = crop(photo, size, rng).astype(np.float32) * rng.uniform(0.08, 0.3)
    sheet = Sheet(size, (0, 0, 0), 2)
    for _ in range(int(rng.integers(2, 6))):
        tint = [(255, 60, 40), (255, 235, 200), (255, 170, 60), colour(rng, 0.8)][int(rng.integers(4))]
        points = rng.uniform(-0.2, 1.2, (4, 2)) * size
        t = np.linspace(0, 1, 40)[:, None]
        path = (
            (1 - t) ** 3 * points[0]
            + 3 * t * (1 - t) ** 2 * points[1]
            + 3 * t * t * (1 - t) * points[2]
            + t**3 * points[3]
        )
        for _ in range(int(rng.integers(3, 14))):
            shift = rng.normal(0, 7, 2) * (0.3 + t)
            sheet.line(path + shift, tuple(int(c * rng.uniform(0.4, 1)) for c in tint), rng.uniform(0.5, 1.8))  # type: ignore[arg-type]
    light = sheet.done()
    return to_uint8(canvas + light + blurred(light, 4) * 0.9)


@look()
def neon(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Glowing tubes in the shape of words, curves, frames, on a dark or bricked wall."""
    from training.looks.lettering import font, word

    wall = np.array(colour(rng, 0.03, 0.18), np.float32) * np.ones((size, size, 3), np.float32)
    if rng.random() < 0.5:
        y, x = plane(size)
        row = np.floor(y / 14)
        joint = ((y % 14) < 1.5) | (((x + (row % 2) * 16) % 32) < 1.5)
        wall = wall * (np.where(joint, 0.5, 1) + 0.08 * fractal(size, 0.5, rng))[..., None]
    light = np.zeros((size, size, 3), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        sheet, tint, kind = Sheet(size, (0, 0, 0), 2), np.array(colour(rng, 0.9), np.float32), rng.integers(3)
        if kind == 0:
            face = font(rng, int(size * rng.uniform(0.2, 0.5)))
            sheet.pen.text(
                tuple((rng.uniform(0, 0.6, 2) * size * 2).tolist()),
                word(rng),
                font=face,
                fill=(0, 0, 0),
                stroke_width=4,
                stroke_fill=(255, 255, 255),
            )
        elif kind == 1:
            sheet.disc(
                *(rng.uniform(0.2, 0.8, 2) * size), size * rng.uniform(0.08, 0.3), None, (255, 255, 255), 2.2
            )
        else:
            t = np.linspace(0, 1, 30)[:, None]
            a, b, c = rng.uniform(0, size, (3, 2))
            sheet.line((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c, (255, 255, 255), 2.2)
        mask = sheet.done()[..., 0]
        core = (mask / 255.0)[..., None]
        light += (
            core * (0.4 * tint + 150)
            + (blurred(mask, 3) / 255.0 * 1.2 + blurred(mask, 14) / 255.0 * 2.5)[..., None] * tint * 0.7
        )
    return to_uint8(wall * (1 + light.mean(-1, keepdims=True) / 120) + light)


@look(marks=True)
def city_windows(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Towers by night: rows of small lit windows, a sky, sometimes water below."""
    y, _ = plane(size)
    canvas = to_uint8(mix(np.array(colour(rng, 0, 0.25)), np.array(colour(rng, 0.05, 0.45)), y / size)).copy()
    warm = np.array([(255, 214, 140), (255, 240, 200), (200, 220, 255), (255, 180, 90)])
    for layer in range(3):
        x = int(rng.integers(-20, 10))
        while x < size:
            wide, high = int(rng.uniform(0.08, 0.22) * size), int(size * rng.uniform(0.25, 0.9 - layer * 0.18))
            left, right, top = max(0, x), min(size, x + wide), size - high
            if right > left:
                canvas[top:, left:right] = np.array(colour(rng, 0.02, 0.16 - layer * 0.04), np.uint8)
                step, w, h = int(rng.integers(4, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 5))
                lit = rng.uniform(0.1, 0.7)
                for wy in range(top + 3, size - h, step + h - 1):
                    for wx in range(left + 2, right - w, step):
                        if rng.random() < lit:
                            canvas[wy : wy + h, wx : wx + w] = warm[int(rng.integers(4))] * rng.uniform(0.5, 1)
            x += wide + int(rng.integers(0, 12))
    if rng.random() < 0.4:
        horizon = int(size * rng.uniform(0.6, 0.85))
        ripple = np.rint(rng.uniform(0, 3) * np.sin(np.arange(size - horizon) * 0.9)).astype(int)
        for i in range(size - horizon):
            source = max(0, horizon - 1 - i)
            canvas[horizon + i] = np.roll(canvas[source], ripple[i], 0) * 0.55
    return canvas


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
