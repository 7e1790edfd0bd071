"""The report's view of repairs that acceptance turned down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qrefine.config import RefineConfig, load_config
from qrefine.corpus.images import decode
from qrefine.report.page import ReportOptions, render_report
from qrefine.report.refused import OTHER_SETTINGS, Repairs
from qrefine.report.scan import TableScan
from qrefine.sample import REFUSED, Sample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.stage import Step
from qrefine.storage.store import Store
from qrefine.table.table import open_table
from qrefine.work.process import process
from tests.report.tables import refined_table
from tests.support import PLAIN, write_shards

STRICT = load_config(None, [*PLAIN, "accept.min_gain=1"])  # nothing gains as much


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    return refined_table(write_shards(folder, shards=1, samples=3), folder / "table", STRICT)


def test_repairs_are_those_that_acceptance_saw(table: Path) -> None:
    repairs, seen = Repairs(STRICT), 0
    for row in open_table(str(table)).to_pyarrow_table().to_pylist():
        steps: list[Step] = []
        sample = Sample(key=row["key"], prompt=row["prompt"], source=row["image"]["bytes"])
        process([sample], build_stages(MODEL_STAGES, STRICT), STRICT, steps.append)
        before_accept = [step for step in steps if step.stage in ("noise", "inpaint", "enhance")]
        repair, note = repairs(row, row["image"]["bytes"])
        if row["decision"] in REFUSED:
            assert repair is not None
            assert np.array_equal(repair, before_accept[-1].samples[0].pixels)
            assert not np.array_equal(repair, decode(row["image"]["bytes"], STRICT.images))
            assert note == f"kept: {row['decision'].replace('_', ' ')}; after: the repair that was refused"
            seen += 1
        else:
            assert (repair, note) == (None, "")
    assert seen


def page(table: Path, config: RefineConfig, refused: int) -> str:
    return render_report(TableScan(Store.at(str(table))), config, ReportOptions(gallery=1, refused=refused))


def test_the_report_shows_them_with_the_reason(table: Path) -> None:
    assert "the repair that was refused" in page(table, STRICT, 2)
    assert "view-refused" not in page(table, STRICT, 0)
    other = page(table, load_config(None, PLAIN), 2)
    assert OTHER_SETTINGS in other
    assert "the repair that was refused" not in other
