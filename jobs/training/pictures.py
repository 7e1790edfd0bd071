"""Undamaged pictures that no training saw, by source, for the evaluation."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL

Image = NDArray[np.uint8]

SKIMAGE = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "color.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "logo.png",
    "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
"""Of scikit-image's pictures those that are no test pattern; where its wheel lacks one it is left out."""


def decoded(data: bytes) -> Image:
    """RGB pixels, alpha over white."""
    with PIL.open(io.BytesIO(data)) as file:
        image: PIL.Image = file
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = PIL.alpha_composite(PIL.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return np.asarray(image.convert("RGB"))


def photographs(pattern: str, held_out: str = "000003") -> dict[str, Image]:
    """Of the shard ``held_out`` the photographs whose subject no photograph in training shows, by key."""
    from training.pack import samples, subject, subjects_left_out

    every = list(samples(pattern))
    held = [s for s in every if s.shard == held_out]
    trained = [subject(s.source) for s in every if s.shard != held_out]
    apart = subjects_left_out(trained, [subject(s.source) for s in held])
    return {s.key: decoded(s.data) for s in held if subject(s.source) in apart}


def shards(pattern: str) -> dict[str, Image]:
    """Every image of the tars that ``pattern`` names, by key."""
    from training.pack import samples

    return {s.key: decoded(s.data) for s in samples(pattern)}


def folder(path: Path) -> dict[str, Image]:
    """Every PNG, JPEG, WebP below ``path``, by name. ValueError where there are none."""
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
    if not files:
        raise ValueError(f"{path}: no images")
    return {str(p.relative_to(path)): decoded(p.read_bytes()) for p in files}


def scikit_images() -> dict[str, Image]:
    """Those of ``SKIMAGE`` that the installed scikit-image carries; none where it is not installed."""
    try:
        import skimage.data
    except ImportError:
        return {}
    root = Path(skimage.data.__file__).parent
    return {name: decoded((root / name).read_bytes()) for name in SKIMAGE if (root / name).is_file()}


def looks_by_family(each: int, size: int, photos: Sequence[Image], held_out: bool) -> dict[str, dict[str, Image]]:
    """``each`` pictures of every family that is held out (or not), by family; the same every time."""
    from training.looks import LOOKS, held_out_names, training_names

    made: dict[str, dict[str, Image]] = {}
    for name in held_out_names() if held_out else training_names():
        made[name] = {}
        for number in range(each):
            rng = np.random.default_rng((zlib.crc32(name.encode()), 1000 + number))
            photo = photos[int(rng.integers(len(photos)))] if photos and LOOKS[name].photo else None
            made[name][f"{name}-{number}"] = LOOKS[name].render(photo, size, rng)
    return made


def veiled_photographs(photos: Sequence[Image], name: str) -> dict[str, dict[str, Image]]:
    """Photographs under a veil each (``training.veils``), as a family of looks; the same every time."""
    import torch

    from training.veils import veiled

    made = {}
    for number, photo in enumerate(photos):
        generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {number}".encode()))
        pixels = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 255
        under = (veiled(pixels, generator, 1.0)[0] * 255).round().byte()
        made[f"{name} {number}"] = np.ascontiguousarray(under.permute(1, 2, 0).numpy())
    return {name: made}


def middle(image: Image, side: int) -> Image:
    """The middle of ``image``, at most ``side`` px along each side."""
    height, width = image.shape[:2]
    h, w = min(height, side), min(width, side)
    top, left = (height - h) // 2, (width - w) // 2
    return np.ascontiguousarray(image[top : top + h, left : left + w])


def thinned(pictures: Mapping[str, Image], most: int, side: int) -> dict[str, Image]:
    """At most ``most`` of the pictures, evenly over their keys, and of each at most the middle ``side`` px."""
    keys = sorted(pictures)
    chosen = keys if len(keys) <= most else [keys[i * len(keys) // most] for i in range(most)]
    return {key: middle(pictures[key], side) for key in chosen}
