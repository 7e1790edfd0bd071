"""A store that stays away ends the run; it does not make its rows failed ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qrefine.storage import retry
from qrefine.storage.store import Store
from qrefine.table.table import open_table
from tests.stream import inline
from tests.stream.kill_points import SAMPLES, SHARDS, read, write_corpus


def stay_away() -> None:
    def fail(*_: Any) -> None:
        raise OSError("connection reset")

    retry.FIRST_WAIT_S = 0.0
    Store.upload = lambda self, name, file: retry.retrying(fail, name)  # type: ignore[method-assign]


def test_a_store_that_stays_away_ends_the_run_and_fails_no_row(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    arguments = [str(tmp_path / "corpus"), str(tmp_path / "table")]
    assert inline.run(arguments, stay_away, said=tmp_path / "said") == 1
    last = (tmp_path / "said").read_text().splitlines()[-1]
    assert last.startswith(f"qrefine: {tmp_path}/table cannot be reached any more: connection reset;")
    assert open_table(arguments[1]).to_pyarrow_table().num_rows == 0
    assert inline.run(arguments) == 0
    assert len(read(tmp_path / "table")[0]) == SHARDS * SAMPLES
