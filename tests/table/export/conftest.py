from __future__ import annotations

from pathlib import Path

import pytest

from qrefine.table.table import Table
from tests.table.export.corpus import refined, write_corpus


@pytest.fixture(scope="package")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "corpus"
    write_corpus(folder)
    return folder


@pytest.fixture(scope="package")
def mixed(corpus: Path) -> Table:
    """The table of `write_corpus`."""
    return refined(corpus, corpus.parent / "table")
