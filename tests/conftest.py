from __future__ import annotations

import pytest

from qrefine.config import RefineConfig, load_config
from tests.support import PLAIN


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no NVIDIA GPU that torch can use")


@pytest.fixture(scope="session")
def plain() -> RefineConfig:
    """Settings with the backends that need no weights."""
    return load_config(None, PLAIN)
