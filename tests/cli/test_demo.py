from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from qrefine.cli.demo import run_demo, write_corpus
from qrefine.config import RefineConfig
from qrefine.table.table import open_table


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    write_corpus(tmp_path / "a")
    write_corpus(tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["000000.tar", "000001.tar", "000002.tar"]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)


@pytest.mark.slow
def test_the_demo_refines_and_draws(tmp_path: Path, plain: RefineConfig) -> None:
    summary, sheet = run_demo(tmp_path, plain)
    assert summary.samples == 30
    assert summary.failed == 0
    assert summary.refined > 0
    assert open_table(str(tmp_path / "table")).to_pyarrow_table(columns=["key"]).num_rows == 30
    assert PIL.Image.open(sheet).width > 1000
