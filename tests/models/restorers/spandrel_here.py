"""spandrel beside a torch that no torchvision of PyPI fits: a stub serves its imports."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

STUBS = Path(__file__).parents[2] / "stubs"


def needs_spandrel() -> None:
    """Imports spandrel, or skips the test with the reason. Nothing else sees the stub."""
    try:
        import torchvision  # noqa: F401

        stubs = None
    except Exception:  # a build for another torch raises RuntimeError
        stubs = str(STUBS)
    if stubs is None or "spandrel" in sys.modules:
        pytest.importorskip("spandrel")
        return
    sys.path.insert(0, stubs)
    try:
        pytest.importorskip("spandrel", reason="spandrel is not installed", exc_type=ImportError)
    finally:
        sys.path.remove(stubs)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
