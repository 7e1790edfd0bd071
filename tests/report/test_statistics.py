"""The report's numbers against the same numbers from pandas, which reads the whole table at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from qrefine.config import Bounds
from qrefine.report import statistics as module
from qrefine.report.rows import Rows
from qrefine.report.scan import TableScan
from qrefine.report.statistics import COLUMNS, LOWER_IS_BETTER, Moments, Statistics, generator
from qrefine.storage.store import Store
from qrefine.table.table import open_table

BOUNDS = Bounds()


def count(table: Path) -> Statistics:
    scan = TableScan(Store.at(str(table)))
    statistics = Statistics(BOUNDS, scan.judges, LOWER_IS_BETTER)
    judges = [f"{judge}_{when}" for judge in scan.judges for when in ("before", "after")]
    for chunk in scan.chunks([*COLUMNS, *judges]):
        statistics.add(Rows(chunk.rows))
    return statistics


@pytest.fixture(scope="module")
def frame(synthetic: Path) -> pd.DataFrame:
    frame = open_table(str(synthetic)).to_pyarrow_table().to_pandas()
    frame["gain"] = frame["quality_after"].astype("float64") - frame["quality_before"]
    return frame


@pytest.fixture(scope="module")
def counted(synthetic: Path) -> Statistics:
    return count(synthetic)


def test_totals_and_failures(counted: Statistics, frame: pd.DataFrame) -> None:
    assert counted.rows == len(frame) == 600
    assert dict(counted.statuses) == frame["status"].value_counts().to_dict()
    failure = counted.errors["decode"]
    assert failure.count == (frame["status"] == "failed").sum() == 30
    failed = frame[frame["status"] == "failed"].sort_values(["shard", "index"]).head(3)
    assert failure.first == list(failed[["shard", "index", "error"]].itertuples(index=False, name=None))
    assert counted.lowered == 0


def test_distributions(counted: Statistics, frame: pd.DataFrame) -> None:
    scored = frame.dropna(subset="quality_before")
    for histogram, name in ((counted.histogram_before, "before"), (counted.histogram_after, "after")):
        expected = np.histogram(scored[f"quality_{name}"].astype("float64"), module.BINS, (0, 1))[0]
        np.testing.assert_array_equal(histogram, expected)
    assert counted.joint.sum() == (frame["status"] == "refined").sum()
    assert counted.before.mean == pytest.approx(scored["quality_before"].astype("float64").mean())


def test_gain_by_group_and_path(counted: Statistics, frame: pd.DataFrame) -> None:
    refined = frame[frame["status"] == "refined"].copy()
    refined["group"] = np.digitize(refined["quality_before"], [BOUNDS.lq, BOUNDS.mq])
    blind = refined["stages"].map(lambda stages: "enhance_blind" in list(stages))
    for number in range(3):
        for path, chosen in ((0, blind), (2, ~blind)):
            values = refined[chosen & (refined["group"] == number)]["gain"]
            moments = counted.group_gain[number][path]
            assert moments.count == len(values)
            if len(values):
                assert moments.mean == pytest.approx(values.mean(), abs=1e-7)
                assert moments.error == pytest.approx(1.96 * values.std() / len(values) ** 0.5, rel=1e-4)
    assert counted.stages["inpaint"] == len(refined)
    assert counted.stages["enhance_blind"] == blind.sum()


def test_judges_by_their_direction(counted: Statistics, frame: pd.DataFrame) -> None:
    refined = frame[frame["status"] == "refined"]
    piqe, liking = counted.judges
    assert (piqe.lower_is_better, liking.lower_is_better) == (True, False)
    assert piqe.better == (refined["piqe_after"] < refined["piqe_before"]).sum()
    assert piqe.worse == (refined["piqe_after"] > refined["piqe_before"]).sum() > 0
    assert (liking.better, liking.worse) == (len(refined), 0)


def test_tallies_by_shard_and_generator(counted: Statistics, frame: pd.DataFrame) -> None:
    assert {name: tally.rows for name, tally in counted.shards.items()} == frame["shard"].value_counts().to_dict()
    names = frame["metadata"].map(generator)
    assert set(names) == {"sdxl", "flux", module.UNNAMED}
    for name, tally in counted.generators.items():
        rows = frame[names == name]
        assert (tally.rows, tally.refined) == (len(rows), (rows["status"] == "refined").sum())
        assert tally.mean_after == pytest.approx(rows["quality_after"].astype("float64").mean())


def test_a_fallen_quality_is_counted(frame: pd.DataFrame, synthetic: Path) -> None:
    table = open_table(str(synthetic)).to_pyarrow_table()
    position = table.column_names.index("quality_after")
    fallen = table.set_column(position, "quality_after", pa.array(np.zeros(len(table)), pa.float32()))
    statistics = Statistics(BOUNDS, (), frozenset())
    statistics.add(Rows(fallen))
    assert statistics.lowered == frame["quality_before"].notna().sum()


def test_names_from_the_data_are_bounded(synthetic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 2)
    shards = count(synthetic).shards
    assert len(shards) == 3
    assert shards[module.OTHERS].rows == 200


@pytest.mark.parametrize("text", [None, "", "no json", "[1]", '{"generator": 3}', "[" * 100_000])
def test_a_generator_that_is_not_named(text: str | None) -> None:
    assert generator(text) == module.UNNAMED


def test_moments_of_nothing_and_of_one() -> None:
    moments = Moments()
    assert np.isnan(moments.mean)
    moments.add(np.array([0.25]))
    assert moments.mean == 0.25
    assert np.isnan(moments.error)
