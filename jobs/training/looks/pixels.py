"""Hard pixels: pixel art, tiles, sprites, isometric graphics, screens, bricks, codes."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw

from training.looks.base import (
    Colour,
    Image,
    Sheet,
    colour,
    crop,
    fractal,
    ink,
    log_uniform,
    look,
    palette,
    paper,
    plane,
    resized,
    smooth_noise,
    to_uint8,
)  # fmt: skip
from training.looks.lettering import bitmap_font, font, line, word


def enlarged(small: Image, scale: int, size: int) -> Image:
    """Every pixel ``scale`` times, by nearest neighbour."""
    return np.repeat(np.repeat(small, scale, 0), scale, 1)[:size, :size]


@look(photo=True)
def pixel_photo(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A picture in pixels of 2 to 12, all its colours or a palette of 4 to 64, dithered or not."""
    scale = int(rng.integers(2, 13))
    small = PIL.fromarray(resized(crop(photo, size, rng), -(-size // scale), PIL.Resampling.BOX))
    if rng.random() < 0.75:
        table = small.quantize(int(log_uniform(rng, 4, 64)))
        dither = PIL.Dither.FLOYDSTEINBERG if rng.random() < 0.4 else PIL.Dither.NONE
        small = small.quantize(palette=table, dither=dither).convert("RGB")
    return enlarged(np.asarray(small), scale, size)


def tile(side: int, colours: list[Colour], rng: np.random.Generator) -> Image:
    """A square of ground: grass, stone, brick, water, planks or plain, (side, side, 3)."""
    made = np.empty((side, side, 3), np.uint8)
    made[:] = colours[0]
    kind = rng.integers(7)
    y, x = np.mgrid[:side, :side]
    if kind == 0:
        made[rng.random((side, side)) < rng.uniform(0.05, 0.35)] = colours[1]
        made[rng.random((side, side)) < 0.06] = colours[2]
    elif kind == 1:
        high, wide = max(3, side // int(rng.integers(2, 5))), max(4, side // int(rng.integers(1, 4)))
        made[(y % high == high - 1) | ((x + (y // high % 2) * wide // 2) % wide == wide - 1)] = colours[1]
        made[(y % high == 0) & ((x + (y // high % 2) * wide // 2) % wide != wide - 1)] = colours[2]
    elif kind == 2:
        made[(np.sin(x * 2 * math.pi / side * 2 + (y // 3)) > 0.6) & (y % 3 == 0)] = colours[1]
    elif kind == 3:
        made[(x % max(2, side // 4)) == 0] = colours[1]
    elif kind == 4:
        made[(x + y) % 2 == 0] = colours[1]
    elif kind == 5:
        made[0], made[:, 0], made[-1], made[:, -1] = colours[2], colours[2], colours[1], colours[1]
    return made


def sprite(side: int, rng: np.random.Generator, colours: list[Colour]) -> tuple[Image, np.ndarray]:
    """A creature, ship or thing mirrored about its middle, with outline; its pixels and where it is solid."""
    half = (side + 1) // 2
    y, x = np.mgrid[:side, :half]
    body = np.hypot((y - side / 2) / side, (x - half) / half / 2) + rng.uniform(-0.16, 0.16, (side, half)) < 0.38
    body &= (y > 0) & (y < side - 1) & (x > 0)
    index = rng.integers(0, 3, (side, half))
    index = np.where(rng.random((side, half)) < 0.6, (y * 3 // side), index)
    body = np.concatenate([body, body[:, ::-1][:, side % 2 :]], 1)
    index = np.concatenate([index, index[:, ::-1][:, side % 2 :]], 1)
    around = np.zeros_like(body)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        around |= np.roll(body, (dy, dx), (0, 1))
    pixels = np.array(colours[:3], np.uint8)[index]
    pixels[around & ~body] = colours[3]
    return pixels, body | around


@look()
def tile_map(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A game's level seen from above or the side: tiles of 8 to 16 pixels at 1 to 5 times, things on it."""
    scale, side = int(rng.integers(1, 6)), int(rng.choice([8, 12, 16]))
    count = -(-size // (scale * side)) + 1
    tiles = [tile(side, palette(rng, 3), rng) for _ in range(int(rng.integers(3, 7)))]
    level = smooth_noise(count, rng.uniform(1.5, 5), rng) if count > 2 else rng.standard_normal((count, count))
    which = np.digitize(level, np.quantile(level, np.linspace(0, 1, len(tiles) + 1)[1:-1]))
    if rng.random() < 0.3:
        which = rng.integers(0, len(tiles), which.shape)
    made = np.concatenate([np.concatenate([tiles[i] for i in row], 1) for row in which], 0)
    colours = [*palette(rng, 3), (0, 0, 0)]
    for _ in range(int(rng.integers(0, count * 2 + 1))):
        pixels, solid = sprite(side, rng, colours)
        top, left = (int(v) * side for v in rng.integers(0, count, 2))
        made[top : top + side, left : left + side][solid] = pixels[solid]
    return enlarged(made, scale, size)


@look(marks=True)
def sprites(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Sprites on flat ground, in rows as on a sheet or anywhere."""
    scale, side = int(rng.integers(1, 7)), int(rng.choice([7, 9, 12, 16, 24]))
    n = -(-size // scale)
    made = np.empty((n, n, 3), np.uint8)
    made[:] = [(0, 0, 0), (255, 255, 255), (255, 0, 255), colour(rng), paper(rng)][int(rng.integers(5))]
    rows = rng.random() < 0.5
    step = side + int(rng.integers(1, 8))
    places = [(y, x) for y in range(1, n - side, step) for x in range(1, n - side, step)]
    if not rows and n > side:
        places = [(int(y), int(x)) for y, x in rng.integers(0, n - side, (int(rng.integers(1, 20)), 2))]
    colours = palette(rng, 4)
    for y, x in places or [(0, 0)]:
        if rng.random() < 0.3:
            colours = palette(rng, 4)
        pixels, solid = sprite(side, rng, colours)
        part = made[y : y + side, x : x + side]
        part[solid[: part.shape[0], : part.shape[1]]] = pixels[: part.shape[0], : part.shape[1]][
            solid[: part.shape[0], : part.shape[1]]
        ]
    return enlarged(made, scale, size)


def shaded(tint: Colour, light: float) -> Colour:
    """A colour made darker or lighter."""
    r, g, b = (int(min(255, c * light)) for c in tint)
    return r, g, b


@look()
def isometric(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Isometric blocks 2:1, drawn to the pixel or anti-aliased, with top, left and right shades, trees, windows."""
    scale = int(rng.choice([1, 1, 2, 3]))
    smooth = rng.random() < 0.3 and scale == 1
    n = -(-size // scale)
    width = int(rng.choice([16, 24, 32, 48, 64])) // (2 if scale > 1 else 1)
    factor = 3 if smooth else 1
    image = PIL.new("RGB", (n * factor, n * factor), colour(rng))
    pen = ImageDraw.Draw(image)
    colours, lights = palette(rng, 5), rng.uniform(0.45, 0.9, 2)
    texture, outline = rng.random() < 0.5, rng.random() < 0.4
    count = n // width + 2
    heights = np.maximum(0, np.rint(rng.uniform(0, 3) * (1 + fractal(count * 4, 1.2, rng)))).astype(int)
    for row in range(count * 4):
        for column in range(count + 1):
            high = int(heights[row, column]) * width // 4 + width // 8
            cx, cy = column * width + (row % 2) * width // 2, row * width // 4
            w, h = width // 2, width // 4
            tint = colours[(int(heights[row, column]) + (row * 7 + column * 3) % 2) % 5]
            top = [(cx - w, cy - high), (cx, cy - h - high), (cx + w, cy - high), (cx, cy + h - high)]
            left = [(cx - w, cy - high), (cx, cy + h - high), (cx, cy + h), (cx - w, cy)]
            right = [(cx + w, cy - high), (cx, cy + h - high), (cx, cy + h), (cx + w, cy)]
            for shape, light in ((top, 1.0), (left, lights[0]), (right, lights[1])):
                at = [(x * factor, y * factor) for x, y in shape]
                pen.polygon(at, fill=shaded(tint, light), outline=shaded(tint, 0.35) if outline else None)
            if texture:
                dots = rng.integers(-w // 2, max(1, w // 2), (3, 2))
                pen.point(
                    [((cx + int(a)) * factor, (cy - high + int(b) // 2) * factor) for a, b in dots],
                    fill=shaded(tint, 1.25),
                )
    made = np.asarray(image.reduce(3) if smooth else image)
    return enlarged(made, scale, size)


@look(held_out=True)
def voxels(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Landscape of small cubes seen from a corner, smooth shading, ambient shade by height."""
    sheet = Sheet(size, colour(rng, 0.6), 2)
    width = log_uniform(rng, 11, 28)
    count = int(size / width) + 3
    level = fractal(max(8, count * 3), 1.6, rng) * rng.uniform(1, 3)
    colours = palette(rng, 6)
    for row in range(-2, int(size / width * 4) + 4):
        for column in range(count):
            high = level[row % level.shape[0], column % level.shape[1]]
            cx, cy = (column + (row % 2) / 2) * width, row * width / 4 - round(high) * width / 2 + width
            tint = colours[int(np.clip(high + 2.5, 0, 5))]
            w, h, d = width / 2, width / 4, width * 1.2
            sheet.polygon(
                np.array([(cx - w, cy), (cx, cy + h), (cx, cy + h + d), (cx - w, cy + d)]), shaded(tint, 0.6)
            )
            sheet.polygon(
                np.array([(cx + w, cy), (cx, cy + h), (cx, cy + h + d), (cx + w, cy + d)]), shaded(tint, 0.8)
            )
            sheet.polygon(np.array([(cx - w, cy), (cx, cy - h), (cx + w, cy), (cx, cy + h)]), shaded(tint, 1.05))
    return sheet.done()


@look(photo=True)
def bricks_with_studs(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Toy bricks: each pixel a plate with a stud, light from above left."""
    pitch = int(rng.integers(8, 22))
    n = -(-size // pitch)
    small = (
        PIL.fromarray(resized(crop(photo, size, rng), n, PIL.Resampling.BOX))
        .quantize(int(rng.integers(4, 20)))
        .convert("RGB")
    )
    flat = enlarged(np.asarray(small), pitch, size).astype(np.float32)
    y, x = (v % pitch - pitch / 2 + 0.5 for v in plane(size))
    d, radius = np.hypot(y, x), pitch * 0.3
    rim = np.clip(1.2 - np.abs(d - radius), 0, 1) * (-(y + x) / (radius * 1.4))
    edge = ((y < -pitch / 2 + 1) | (x < -pitch / 2 + 1)) * 0.12 - ((y > pitch / 2 - 1) | (x > pitch / 2 - 1)) * 0.2
    return to_uint8(flat * (1 + 0.3 * rim + edge)[..., None] + 12 * (d < radius)[..., None])


@look(photo=True)
def crt_screen(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A tube's picture: scan lines and a slot mask or stripes of red, green and blue, evenly."""
    pitch = int(rng.integers(2, 5))
    image = crop(photo, size, rng).astype(np.float32)
    if rng.random() < 0.5:
        scale = int(rng.integers(2, 5))
        image = enlarged(resized(to_uint8(image), -(-size // scale), PIL.Resampling.BOX), scale, size).astype(
            np.float32
        )
    y, x = (v.astype(int) for v in plane(size))
    low = rng.uniform(0.3, 0.8)
    lines = (
        np.where(y % pitch == 0, low, 1.0)
        if rng.random() < 0.5
        else low + (1 - low) * np.sin(math.pi * (y + 0.5) / pitch) ** 2
    )
    mask = np.ones((size, size, 3), np.float32)
    if rng.random() < 0.6:
        phase = (x + (y // (2 * pitch) % 2 if rng.random() < 0.5 else 0)) % 3
        for channel in range(3):
            mask[..., channel] = np.where(phase == channel, 1.0, rng.uniform(0.4, 0.8))
    return to_uint8(image * lines[..., None] * mask * 1.25)


@look(photo=True)
def scan_lines(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Dark or light lines every 2 to 8 px over a picture, horizontal, upright or slanted; a grid."""
    image, pitch = crop(photo, size, rng).astype(np.float32), int(rng.integers(2, 9))
    y, x = (v.astype(int) for v in plane(size))
    axis = [y, x, x + y][int(rng.choice([0, 0, 1, 2]))]
    width = int(rng.integers(1, pitch // 2 + 1))
    on = axis % pitch < width
    if rng.random() < 0.2:
        on |= x % pitch < width
    strength = rng.uniform(0.15, 0.7)
    target = np.array(colour(rng, 0, 1) if rng.random() < 0.3 else (0, 0, 0))
    return to_uint8(np.where(on[..., None], image * (1 - strength) + strength * target, image))


@look(photo=True, held_out=True, marks=True)
def led_wall(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A wall of round lamps on black."""
    pitch = int(rng.integers(4, 12))
    small = resized(crop(photo, size, rng), -(-size // pitch), PIL.Resampling.BOX)
    image = enlarged(small, pitch, size).astype(np.float32)
    y, x = (v % pitch - pitch / 2 + 0.5 for v in plane(size))
    radius = pitch * rng.uniform(0.28, 0.45)
    share = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return to_uint8(image * share[..., None] * 1.2 + np.array(colour(rng, 0, 0.12)))


@look(photo=True)
def letters_as_pixels(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A picture written in letters, light ones and dense ones; green, amber, black on white or in colour."""
    face, (w, h) = bitmap_font(), (6, 11)
    image = crop(photo, size, rng)
    small = np.asarray(PIL.fromarray(image).resize((-(-size // w), -(-size // h)), PIL.Resampling.BOX))
    glyphs = " .:-=+*#%@" if rng.random() < 0.6 else " 1/i7xE8B"
    dark = rng.random() < 0.7
    tone = small.mean(-1) / 255 if dark else 1 - small.mean(-1) / 255
    page = PIL.new("L", (small.shape[1] * w, small.shape[0] * h), 0)
    pen = ImageDraw.Draw(page)
    for i, row in enumerate(np.minimum((tone * len(glyphs)).astype(int), len(glyphs) - 1)):
        for j, k in enumerate(row):
            if k:
                pen.text((j * w, i * h - 1), glyphs[k], fill=255, font=face)
    share = (np.asarray(page)[:size, :size] / 255)[..., None]
    tint = (
        np.repeat(np.repeat(small, h, 0), w, 1)[:size, :size] * 1.3
        if rng.random() < 0.3
        else np.array(colour(rng, 0.7) if dark else ink(rng))
    )
    base = np.array((8, 10, 8) if dark else paper(rng))
    return to_uint8(base * (1 - share) + tint * share)


@look()
def code_squares(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Matrix codes with finders, and bar codes with digits."""
    flat = paper(rng) if rng.random() < 0.6 else (255, 255, 255)
    made, dark = np.empty((size, size, 3), np.uint8), ink(rng)
    made[:] = flat
    for _ in range(int(rng.integers(1, 4))):
        module = int(rng.integers(2, 9))
        if rng.random() < 0.65:
            n = int(rng.choice([21, 25, 29, 33]))
            bits = rng.random((n, n)) < 0.5
            finder = np.pad(np.pad(np.ones((3, 3), bool), 1), 1, constant_values=True)
            for y, x in ((0, 0), (0, n - 7), (n - 7, 0)):
                bits[max(0, y - 1) : y + 8, max(0, x - 1) : x + 8] = False
                bits[y : y + 7, x : x + 7] = finder
        else:
            bars = np.repeat(np.arange(60) % 2 == 0, rng.integers(1, 5, 60))
            bits = np.repeat(bars[None], int(rng.integers(15, 40)), 0)
        block = np.kron(bits, np.ones((module, module), bool))[:size, :size]
        top, left = (int(rng.integers(-(d // 4), max(1, size - d // 2))) for d in block.shape)
        t, l = max(0, top), max(0, left)
        part = block[t - top :, l - left :][: size - t, : size - l]
        area = made[t : t + part.shape[0], l : l + part.shape[1]]
        area[:] = flat
        area[part] = dark
    return made


@look()
def terminal(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A text console: coloured words in a bitmap font, at 1 to 3 times."""
    scale = int(rng.choice([1, 1, 2, 3]))
    n = -(-size // scale)
    page = PIL.new("RGB", (n, n), [(0, 0, 0), (12, 12, 24), (0, 0, 170), (253, 246, 227)][int(rng.integers(4))])
    pen, face = ImageDraw.Draw(page), bitmap_font()
    dark = sum(page.getpixel((0, 0))) < 400  # type: ignore[arg-type]
    colours = [colour(rng, 0.6, 1) if dark else colour(rng, 0, 0.5) for _ in range(4)]
    for y in range(int(rng.integers(0, 6)), n, int(rng.integers(10, 15))):
        x = int(rng.choice([2, 2, 2, 26, 50]))
        for _ in range(int(rng.integers(0, 9))):
            text = word(rng, 3 if rng.random() < 0.15 else 0)
            pen.text((x, y), text, fill=colours[int(rng.choice([0, 0, 0, 1, 2, 3]))], font=face)
            x += 6 * (len(text) + 1)
    return enlarged(np.asarray(page), scale, size)


@look()
def handheld_game(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """Four greens of an old handheld: a side-scrolling scene with dithered sky, platforms and a score line."""
    scale = int(rng.integers(2, 7))
    n = -(-size // scale)
    shades = np.array([colour(rng, v, v + 0.1) for v in (0.1, 0.35, 0.6, 0.85)], np.uint8)
    if rng.random() < 0.5:
        shades = np.array([(15, 56, 15), (48, 98, 48), (139, 172, 15), (155, 188, 15)], np.uint8)
    y, x = np.mgrid[:n, :n]
    level = np.where(((x + y) % 2 == 0) & (y > n * 0.3), 2, 3)
    hills = n * 0.6 + n * 0.1 * np.sin(x[0] / rng.uniform(4, 12)) + n * 0.06 * np.sin(x[0] / rng.uniform(2, 5))
    level[y > hills[None]] = 1
    for _ in range(int(rng.integers(1, 8))):
        top, left, wide = int(rng.integers(n)), int(rng.integers(n)), int(rng.integers(4, 20))
        level[top : top + 3, left : left + wide] = 0
        level[top : top + 1, left : left + wide] = 2
    level[-max(2, n // 8) :] = (x[-max(2, n // 8) :] // 4 + y[-max(2, n // 8) :] // 2) % 2
    page = PIL.fromarray(shades[level])
    colours = [tuple(int(c) for c in s) for s in shades[[1, 2, 3, 0]]]
    made = np.array(page)
    for _ in range(int(rng.integers(1, 6))):
        side = int(rng.choice([7, 9, 12]))
        if n > side:
            pixels, solid = sprite(side, rng, colours)  # type: ignore[arg-type]
            top, left = (int(v) for v in rng.integers(0, n - side, 2))
            made[top : top + side, left : left + side][solid] = pixels[solid]
    page = PIL.fromarray(made)
    ImageDraw.Draw(page).text((2, 0), word(rng, 3), fill=colours[3], font=bitmap_font())
    return enlarged(np.asarray(page), scale, size)


@look(held_out=True)
def screenshot(photo: Image | None, size: int, rng: np.random.Generator) -> Image:
    """A window of a program: title, buttons, lists, text fields, scroll bars."""
    dark = rng.random() < 0.35
    back, front = (colour(rng, 0.1, 0.2), (225, 225, 230)) if dark else (paper(rng), (30, 30, 35))
    accent = colour(rng, 0.5, 0.9)
    page = PIL.new("RGB", (size, size), back)
    pen, pixels = ImageDraw.Draw(page), int(rng.integers(9, 15))
    face = font(rng, pixels)
    pen.rectangle((0, 0, size, pixels + 10), fill=accent)
    pen.text((8, 4), line(rng, 2), fill=(255, 255, 255), font=face)
    x, y, wide = 8, pixels + 18, int(rng.integers(60, 140))
    while y < size:
        kind = rng.integers(5)
        if kind == 0:
            pen.rounded_rectangle(
                (x, y, x + wide, y + pixels + 8), 4, fill=accent if rng.random() < 0.4 else None, outline=front
            )
            pen.text((x + 6, y + 3), word(rng), fill=front, font=face)
        elif kind == 1:
            pen.rectangle((x, y, x + 10, y + 10), outline=front)
            pen.text((x + 16, y - 2), line(rng, 3), fill=front, font=face)
        elif kind == 2:
            pen.text((x, y), line(rng, int(rng.integers(3, 8))), fill=front, font=face)
        elif kind == 3:
            pen.line((0, y, size, y), fill=shaded(back, 0.85))
        else:
            pen.ellipse((x, y, x + pixels * 2, y + pixels * 2), fill=colour(rng))
            pen.text((x + pixels * 2 + 6, y), line(rng, 4), fill=front, font=face)
            y += pixels
        y += pixels + int(rng.integers(6, 16))
    pen.rectangle((size - 8, 0, size, size), fill=shaded(back, 0.9))
    pen.rectangle((size - 7, size // 4, size - 1, size // 2), fill=shaded(back, 0.7))
    return np.asarray(page)
