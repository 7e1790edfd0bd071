"""Quality-guided refinement of text-to-image corpora at dataset scale, after Q-Refine (arXiv 2401.01117)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qrefine.api import nightly, refine, score
    from qrefine.config import RefineConfig, load_config
    from qrefine.stages.refiner import Refined, Refiner
    from qrefine.table.dataset import TableDataset
    from qrefine.table.images import image_bytes, open_image
    from qrefine.table.table import open_table
    from qrefine.work.refine import Summary

__version__ = "0.1.0"
__all__ = [
    "RefineConfig",
    "Refined",
    "Refiner",
    "Summary",
    "TableDataset",
    "image_bytes",
    "load_config",
    "nightly",
    "open_image",
    "open_table",
    "refine",
    "score",
]

_HOMES = {
    "RefineConfig": "qrefine.config",
    "load_config": "qrefine.config",
    "open_table": "qrefine.table.table",
    "TableDataset": "qrefine.table.dataset",
    "image_bytes": "qrefine.table.images",
    "open_image": "qrefine.table.images",
    "Refined": "qrefine.stages.refiner",
    "Refiner": "qrefine.stages.refiner",
    "Summary": "qrefine.work.refine",
    "nightly": "qrefine.api",
    "refine": "qrefine.api",
    "score": "qrefine.api",
}


def __getattr__(name: str) -> Any:
    """Public names on first use: ``import qrefine`` loads neither torch nor ray."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
