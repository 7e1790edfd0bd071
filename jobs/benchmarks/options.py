"""What every benchmark is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qrefine.quality.map import Image


@dataclass(frozen=True)
class Options:
    """``folder``: for corpora and tables; ``photos``: to make corpora of, none: scenes by program; ``tiny``: in
    miniature, to see that it works: its figures mean nothing."""

    folder: Path
    photos: Sequence[Image] = ()
    tiny: bool = False

    def of(self, full: int, tiny: int) -> int:
        """A size of the benchmark, in full or in miniature."""
        return tiny if self.tiny else full
