from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qrefine.config import RefineConfig
from tests.report.tables import refined_table, synthetic_table
from tests.support import encoded, write_shards, write_tar


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, plain: RefineConfig) -> Path:
    """Two shards of photographs larger than a thumbnail, refined, and a wall that needs nothing."""
    folder = tmp_path_factory.mktemp("report")
    shards = write_shards(folder, shards=2, samples=3, size=560)
    wall = encoded(np.full((560, 560, 3), 128, dtype=np.uint8))
    shards.append(write_tar(folder / "000002.tar", [("wall.png", wall)]))
    return refined_table(shards, folder / "table", plain)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows without sources: prompts that attack, failures, two judges, two generators."""
    return synthetic_table(tmp_path_factory.mktemp("report") / "table", shards=3, rows=200, part_rows=50)
