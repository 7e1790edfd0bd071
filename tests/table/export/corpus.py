"""A corpus of all sorts, and the table that a run makes of it, for the tests of exports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from qrefine.api import refine
from qrefine.config import RefineConfig, load_config
from qrefine.storage.store import Store
from qrefine.table.table import Table
from tests.support import PLAIN, encoded, noisy, photo, write_tar

CONFIG: RefineConfig = load_config(None, [*PLAIN, "stream.executor=local"])
KINDS = (("png", "PNG"), ("png", "PNG"), ("jpg", "JPEG"))
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
SIZE = 96
EVEN = (2, 4)  # samples of one colour: nothing is to be done, a PNG and a JPEG
MASK = encoded(photo(size=16))


def write_corpus(folder: Path, samples: int = 12) -> list[Path]:
    """Two shards with the same keys: JPEGs and PNGs, kept and refined, with and without prompts, all with a class.

    Every other sample has a mask; their json differs; the last sample of the first shard is broken.
    """
    folder.mkdir()
    shards = []
    for number, name in enumerate(("a.tar", "b.tar")):
        members: list[tuple[str, bytes]] = []
        for i in range(samples):
            key, (suffix, kind) = f"d/k{i:02d}", KINDS[i % 3]
            image = photo(PHOTOS[i % 4], SIZE)
            image = noisy(image, i + samples * number) if i % 2 else image
            image = np.full_like(image, 9 * i) if i in EVEN else image
            data = encoded(image, kind, quality=98, subsampling=0) if kind == "JPEG" else encoded(image)
            members.append((f"{key}.{suffix}", data))
            members.append((f"{key}.cls", str(i).encode()))
            if i % 4:
                members.append((f"{key}.txt", f"prompt {i} of {name}".encode()))
            if i % 2:
                members.append((f"{key}.mask.png", MASK))
            own = {"n": i if i % 2 else i + 0.5, "style": "photo", "seed": None if i % 3 else i}
            members.append((f"{key}.json", json.dumps(own).encode()))
        if name == "a.tar":
            members += [("broken.png", b"\x89PNG\r\n\x1a\n damaged"), ("broken.cls", b"0")]
        shards.append(write_tar(folder / name, members))
    return shards


def refined(corpus: Path, table: Path, config: RefineConfig = CONFIG) -> Table:
    done = refine([str(corpus)], str(table), config)
    assert done.refined and done.kept, "all sorts are wanted"  # noqa: PT018
    return Table.open(Store.at(str(table)))
