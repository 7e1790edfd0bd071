"""Shared by all peers: the same models, input bytes and output columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from qrefine.config import RefineConfig
from qrefine.corpus.encode import encode
from qrefine.corpus.images import decode
from qrefine.stages.refiner import Refiner

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("image", pa.large_binary()),
        ("quality_before", pa.float32()),
        ("quality_after", pa.float32()),
    ]
)


@dataclass
class Worker:
    """Models loaded once; call it with keys and encoded images."""

    config: RefineConfig

    def __post_init__(self) -> None:
        self._refiner = Refiner(self.config)

    def __call__(self, keys: Sequence[str], images: Sequence[bytes]) -> dict[str, list[Any]]:
        results = self._refiner([decode(data, self.config.images) for data in images], keys=list(keys))
        refined = [result.status == "refined" for result in results]
        return {
            "key": list(keys),
            "status": [result.status for result in results],
            "image": [
                encode(result.image, self.config.images) if changed else data
                for result, changed, data in zip(results, refined, images, strict=True)
            ],
            "quality_before": [result.before.score if result.before else None for result in results],
            "quality_after": [result.after.score if result.after else None for result in results],
        }
