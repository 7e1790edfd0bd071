"""What the tests share: real photographs from scikit-image's wheel, shards made of them, plain backends."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import skimage.data

from qrefine.quality.map import Image

PLAIN = (
    "mapper.name=piqe",
    "mapper.grid=8",
    "inpaint.name=classical",
    "enhance.blind.name=classical",
    "accept.risk=null",
)
SETTINGS = [flag for setting in PLAIN for flag in ("--set", setting)]


def photo(name: str = "astronaut", size: int = 128) -> Image:
    """A square photograph of ``size`` pixels, RGB."""
    return np.asarray(cv2.resize(_picture(name), (size, size), interpolation=cv2.INTER_AREA))


@cache
def _picture(name: str) -> Image:
    """scikit-image reads its file anew each time."""
    return np.asarray(getattr(skimage.data, name)()[..., :3])


def noisy(image: Image, seed: int = 0, sigma: float = 40) -> Image:
    """The image with strong noise in its upper left quarter."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    out = image.astype(np.float64)
    out[:height, :width] += np.random.default_rng(seed).normal(0, sigma, (height, width, 3))
    return np.clip(out, 0, 255).astype(np.uint8)


def line(length: float, angle: float) -> np.ndarray:
    """The kernel (33, 33) of a shake, its rim a ramp; ``angle`` in radians from x towards y."""
    y, x = np.mgrid[-16:17, -16:17]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return kernel / kernel.sum()


def disc(radius: float) -> np.ndarray:
    """The kernel (33, 33) of a lens out of focus, its rim a ramp."""
    y, x = np.mgrid[-16:17, -16:17]
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return kernel / kernel.sum()


def encoded(image: Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar with exactly these members, names taken as they are."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_shards(folder: Path, shards: int = 2, samples: int = 6, size: int = 96) -> list[Path]:
    """Shards of clean and noisy photographs with prompts, all different."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    paths = []
    for shard in range(shards):
        members: list[tuple[str, bytes]] = []
        for index in range(samples):
            image = photo(names[index % len(names)], size)
            if index % 3:
                image = noisy(image, seed=shard * samples + index)
            key = f"{shard:03d}{index:05d}"
            members += [(f"{key}.png", encoded(image)), (f"{key}.txt", f"prompt {key}".encode())]
        paths.append(write_tar(folder / f"{shard:06d}.tar", members))
    return paths


def qrefine(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "qrefine.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)
