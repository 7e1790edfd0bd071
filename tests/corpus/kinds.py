"""The same small corpus as each kind of input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import encoded, noisy, photo, write_tar

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def pictures(count: int, first: int = 0, size: int = 64) -> list[tuple[str, bytes, str]]:
    """Keys, images, all different and two of three with noise, and prompts."""
    found = []
    for index in range(first, first + count):
        image = photo(NAMES[index % len(NAMES)], size)
        image = noisy(image, seed=index) if index % 3 else image
        found.append((f"k{index:05d}", encoded(image), f"prompt {index}"))
    return found


def as_tar(folder: Path, count: int) -> Path:
    members = [
        (f"{key}.{suffix}", data)
        for key, image, prompt in pictures(count)
        for suffix, data in (("png", image), ("txt", prompt.encode()))
    ]
    return write_tar(folder / "a.tar", members)


def as_parquet(folder: Path, count: int) -> Path:
    path = folder / "a.parquet"
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    found = pictures(count)
    images = pa.array([{"bytes": image, "path": f"{key}.png"} for key, image, _ in found], kind)
    pq.write_table(pa.table({"image": images, "prompt": [prompt for *_, prompt in found]}), path, row_group_size=5)
    return path


def as_folder(folder: Path, count: int, first: int = 0) -> Path:
    path = folder / "files"
    for key, image, prompt in pictures(count, first):
        (path / "deep").mkdir(parents=True, exist_ok=True)
        (path / "deep" / f"{key}.png").write_bytes(image)
        (path / "deep" / f"{key}.txt").write_text(prompt)
    return path


KINDS: dict[str, Callable[[Path, int], Path]] = {"tar": as_tar, "parquet": as_parquet, "folder": as_folder}
