"""Options of every benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qrefine.quality.map import Image


@dataclass(frozen=True)
class Options:
    """``folder``: for corpora and tables; ``photos``: for corpora, empty: synthetic scenes; ``tiny``: tiny sizes,
    to test the benchmark: its figures mean nothing; ``jobs``: those of ``against``, empty: all."""

    folder: Path
    photos: Sequence[Image] = ()
    tiny: bool = False
    jobs: Sequence[str] = ()

    def of(self, full: int, tiny: int) -> int:
        """The full or the tiny size."""
        return tiny if self.tiny else full
