"""Corpora for the benchmarks: synthetic and seeded, or from given photographs."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.stubs import MARK
from qrefine.config import ImageSettings
from qrefine.corpus.images import decode
from qrefine.quality.map import Image
from training import scenes
from training.degradations_cv2 import degrade

TRIED = 200  # most scenes tried, since not every one passes ``fine``
DISTINCT = 16  # distinct images of a corpus: making more would take longer than the benchmark


def write_corpus(
    folder: Path,
    *,
    shards: int,
    samples: int,
    side: int,
    needy: float,
    photos: Sequence[Image] = (),
    drifting: bool = False,
    seed: int = 0,
    fine: Callable[[Image], bool] = lambda _: True,
) -> list[str]:
    """Shards of JPEGs of ``side`` pixels, a share ``needy`` of them noisy all over; returns their paths.

    ``drifting``: the share changes from shard to shard, 0 to 2 x ``needy`` and back, as with mixed generators. The
    corner of a needy image is white and of the others black, for sleeping models. ``fine`` selects the images to
    start from, in their stored form; ValueError if it accepts none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scenery = (_scene(side, (seed, number)) for number in range(TRIED))
    made = (_fitted(photo, side) for photo in photos) if photos else scenery
    stored = ((image, decode(_encoded(image, 0), ImageSettings())) for image in made)
    chosen = list(islice((image for image, seen in stored if fine(seen)), DISTINCT))
    if not chosen:
        raise ValueError("no image is fine as it is: there is nothing to make a corpus of")
    good = [chosen[i % len(chosen)] for i in range(DISTINCT)]
    poor = [degrade(image, "gaussian_noise", 0.7, rng) for image in good]
    encoded = {False: [_encoded(image, 0) for image in good], True: [_encoded(image, 255) for image in poor]}
    paths = []
    for shard in range(shards):
        share = needy * (1 - np.cos(4 * np.pi * shard / max(1, shards))) if drifting else needy
        path = folder / f"{shard:06d}.tar"
        with tarfile.open(path, "w") as tar:
            for index in range(samples):
                # evenly spread, not random: two corpora with the same arguments need the same work
                needs = int((index + 1) * share) > int(index * share)
                data = encoded[needs][(shard * samples + index) % DISTINCT]
                member = tarfile.TarInfo(f"{shard:06d}{index:06d}.jpg")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
        paths.append(str(path))
    return paths


@lru_cache(2 * DISTINCT)
def _scene(side: int, seed: tuple[int, int]) -> Image:
    """Overlapping discs with sharp edges; drawing them takes longer than scoring them."""
    generator = torch.Generator().manual_seed(seed[0] * TRIED + seed[1])
    pixels = scenes.leaves(1, side, generator)[0].permute(1, 2, 0).numpy()
    scene = np.rint(pixels * 255).astype(np.uint8)
    scene.setflags(write=False)
    return scene


def _fitted(photo: Image, side: int) -> Image:
    """The central square of a photograph, resized to ``side``."""
    height, width = photo.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = photo[top : top + edge, left : left + edge]
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA))


def _encoded(image: Image, corner: int) -> bytes:
    image = image.copy()
    image[: 2 * MARK, : 2 * MARK] = corner  # whole JPEG blocks, so that their mean survives
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return bytes(data)
