from __future__ import annotations

import pytest

from qrefine.config import RefineConfig, load_config
from tests.support import PLAIN


@pytest.fixture(scope="session")
def plain() -> RefineConfig:
    """Settings with the backends that need no weights."""
    return load_config(None, PLAIN)
