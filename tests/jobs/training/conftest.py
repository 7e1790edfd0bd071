"""A pack of a few small images for tests of training."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs that are ramps under texture."""
    path, rng = tmp_path_factory.mktemp("pack") / "tiny.pack", np.random.default_rng(0)
    ramp = np.add.outer(np.arange(240), np.arange(240))[..., None]
    with zipfile.ZipFile(path, "w") as file:
        for part, count in (("photos/train", 4), ("photos/check", 2), ("art", 1)):
            for i in range(count):
                pixels = ramp * rng.uniform(0.1, 0.3, 3) + rng.normal(0, 20, (240, 240, 3)) + 60
                data = io.BytesIO()
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "PNG")
                file.writestr(f"{part}/{i}.png", data.getvalue())
    return path
