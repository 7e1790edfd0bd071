"""The repairs that acceptance turned down, made once more: a table holds no pixels that were refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrefine.config import RefineConfig
from qrefine.corpus.images import decode
from qrefine.quality.map import Image
from qrefine.sample import REFUSED, Sample
from qrefine.stages.refiner import build_stages
from qrefine.stages.stage import run_stages

OTHER_SETTINGS = "its repair can be made again with the settings of its run alone: --config"


class Repairs:
    """Makes the repair of a row again: the same pixels as in its run, on the same hardware."""

    def __init__(self, config: RefineConfig) -> None:
        self.config = config
        self._stages = build_stages(("map", "noise", "inpaint", "enhance"), config)

    def __call__(self, row: Mapping[str, Any], source: bytes) -> tuple[Image | None, str]:
        """The pixels before acceptance looked at them, and what to say of them; none with other settings."""
        if row["decision"] not in REFUSED:
            return None, ""
        why = f"kept: {row['decision'].replace('_', ' ')}"
        if row["config"] != self.config.digest:
            return None, f"{why}; {OTHER_SETTINGS}"
        image = decode(source, self.config.images)
        sample = Sample(
            key=row["key"], prompt=row["prompt"], seed=row["seed"], decoded=image, size=image.shape[:2]
        )
        (done,) = run_stages(self._stages, [sample])
        if done.error is not None:
            return None, f"{why}; {done.error}"
        return (
            (None, why) if done.refined is None else (done.refined, f"{why}; after: the repair that was refused")
        )
