"""A judge added to a table that exists: exactly once, beside it, and no image copied."""

from __future__ import annotations

import json
import shutil
import signal
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from qrefine.api import judge, nightly, refine
from qrefine.cli.app import app
from qrefine.config import RefineConfig, load_config
from qrefine.corpus.images import decode
from qrefine.errors import UserError
from qrefine.nightly.changes import Again
from qrefine.report.page import write_report
from qrefine.storage.store import Store
from qrefine.table.export.request import Request
from qrefine.table.export.run import export
from qrefine.table.export.select import Choice
from qrefine.table.images import image_bytes
from qrefine.table.table import Table, open_table
from tests.support import PLAIN, write_shards
from tests.work import runs

SETTINGS = [*PLAIN, "stream.executor=local", "stream.workers=1", "stream.batch_size=2", "judges=[]"]
CONFIG = load_config(None, SETTINGS)
ROWS = 12


def brightness(image: np.ndarray) -> float:
    return float(image.mean())


def fussy(image: np.ndarray) -> float:
    if image[0, 0, 0] % 2:
        raise KeyError("odd")
    return 1.0


NAME = f"{__name__}:brightness"


@pytest.fixture(autouse=True)
def _threads_stay() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["all", "refined"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards and the table of them, with refined rows among them."""
    folder = tmp_path_factory.mktemp("made")
    write_shards(folder, samples=ROWS // 2)
    refine([str(folder)], str(folder / "table"), settings(request.param))
    return folder, folder / "table"


def settings(store: str) -> RefineConfig:
    return load_config(None, [*SETTINGS, f"images.store={store}"])


@pytest.fixture
def table(made: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(made[1], tmp_path / "table")
    return tmp_path / "table"


def scores(table: Path, name: str = "brightness") -> dict[tuple[str, int], tuple[float | None, float | None]]:
    rows = pa.table(open_table(f"{table}/_judges/{name}").to_pyarrow_table()).to_pylist()
    found = {(row["shard"], row["index"]): (row[f"{name}_before"], row[f"{name}_after"]) for row in rows}
    assert len(found) == len(rows), "a row twice"
    return found


def expected(table: Path) -> dict[tuple[str, int], float]:
    """The judge's answer on each image as it is now."""
    rows = pa.table(open_table(str(table)).to_pyarrow_table()).to_pylist()
    assert {"refined", "kept"} <= {row["status"] for row in rows}
    return {(row["shard"], row["index"]): brightness(decode(image_bytes(row), CONFIG.images)) for row in rows}


def test_every_row_gets_its_pair_and_the_table_stays_as_it_was(table: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in table.iterdir() if path.is_file()}
    log = sorted((table / "_delta_log").iterdir())
    (summary,) = judge(str(table), [NAME], CONFIG)
    assert (summary.judged, summary.kept, summary.lost) == (ROWS, 0, {})
    assert {place: after for place, (_, after) in scores(table).items()} == pytest.approx(expected(table))
    assert any(old != new for old, new in scores(table).values())  # refined rows: the source was judged too
    assert {path.name: path.stat().st_mtime_ns for path in table.iterdir() if path.is_file()} == before
    assert sorted((table / "_delta_log").iterdir()) == log
    assert sum(path.stat().st_size for path in (table / "_judges").rglob("*.parquet")) < 40_000
    (again,) = judge(str(table), [NAME], CONFIG)
    assert (again.judged, again.kept) == (0, ROWS)


def test_every_reader_opens_both_and_joins_them(table: Path) -> None:
    judge(str(table), [NAME], CONFIG)
    place = f"{table}/_judges/brightness"
    joined = pl.scan_delta(str(table)).join(pl.scan_delta(place), on=["shard", "index"]).collect()
    assert joined.height == ROWS
    whole, beside = (pa.table(open_table(url).to_pyarrow_table()) for url in (str(table), place))
    assert duckdb.sql("select count(*) from whole join beside using (shard, index)").fetchall() == [(ROWS,)]
    frames = [found.select(["shard", "index"]).to_pandas() for found in (whole, beside)]
    assert len(pd.merge(*frames, on=["shard", "index"])) == ROWS


def test_a_failing_judge_and_lost_images_are_told_and_nothing_else_is_lost(
    made: tuple[Path, Path], table: Path, tmp_path: Path
) -> None:
    (summary,) = judge(str(table), [f"{__name__}:fussy"], CONFIG)
    nulls = [pair for pair in scores(table, "fussy").values() if None in pair]
    assert summary.judged == ROWS
    assert summary.notes == {f"judge {__name__}:fussy gave no score: KeyError": len(nulls)}
    assert 0 < len(nulls) < ROWS
    away = tmp_path / "away.tar"
    shutil.move(made[0] / "000000.tar", away)
    try:
        (summary,) = judge(str(table), [NAME], CONFIG)
    finally:
        shutil.move(away, made[0] / "000000.tar")
    assert summary.exit_code == 3
    lost = sum(summary.lost.values())
    assert lost > 0
    assert summary.judged == ROWS - lost == len(scores(table))
    (summary,) = judge(str(table), [NAME], CONFIG)  # the shard is back
    assert (summary.judged, summary.kept) == (lost, ROWS - lost)
    assert len(scores(table)) == ROWS


def test_rows_that_are_made_again_are_judged_again(made: tuple[Path, Path], tmp_path: Path) -> None:
    store = load_config(None, [*SETTINGS, "images.store=refined", "bounds.mq=0.71"])
    table = tmp_path / "t"
    refine([str(made[0])], str(table), settings("refined"))
    judge(str(table), [NAME], CONFIG)
    nightly([str(made[0])], str(table), store, Again(stale=True))
    (summary,) = judge(str(table), [NAME], CONFIG)
    assert (summary.judged, summary.again) == (ROWS, ROWS)
    assert {place: after for place, (_, after) in scores(table).items()} == pytest.approx(expected(table))


@pytest.mark.parametrize("asked", [{}, {"format": "parquet"}, {"pairs": "restoration"}, {"pairs": "preference"}])
def test_exports_tell_its_scores(table: Path, tmp_path: Path, asked: dict[str, Any]) -> None:
    judge(str(table), [NAME], CONFIG)
    request = Request(**{"format": "parquet" if asked.get("pairs") == "preference" else "webdataset", **asked})
    export(Table.open(Store.at(str(table))), Store.at(str(tmp_path / "out")), request)
    told = exported(tmp_path / "out")
    assert told
    for row in told:
        before = scores(table)[row["shard"], row["index"]][0]
        assert row["brightness_before"] == pytest.approx(before)


@pytest.mark.parametrize("format_", ["webdataset", "parquet"])
def test_exports_choose_by_its_scores(table: Path, tmp_path: Path, format_: str) -> None:
    judge(str(table), [NAME], CONFIG)
    values = {place: after for place, (_, after) in scores(table).items() if after is not None}
    bar = sorted(values.values())[ROWS // 2]
    brightest = sorted(values, key=lambda place: (-values[place], place))[: ROWS // 4]
    for name, choice, places in (
        ("where", Choice(where=f"brightness_after > {bar}"), {place for place in values if values[place] > bar}),
        ("top", Choice(top=0.25, by="brightness_after"), set(brightest)),
    ):
        out = tmp_path / name
        export(Table.open(Store.at(str(table))), Store.at(str(out)), Request(format=format_, choice=choice))
        told = {(row["shard"], row["index"]): row["brightness_after"] for row in exported(out)}
        assert told == pytest.approx({place: values[place] for place in places})


def exported(out: Path) -> list[dict[str, Any]]:
    """The columns that are told of each sample."""
    rows = [row for path in out.glob("*.parquet") for row in pl.read_parquet(path).to_dicts()]
    for path in out.glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    rows.append(json.load(file)["qrefine"])
    return rows


def test_the_report_shows_it_and_a_column_that_is_there_is_refused(table: Path, tmp_path: Path) -> None:
    judge(str(table), [NAME], CONFIG)
    page = tmp_path / "report.html"
    write_report(str(table), str(page))
    assert "Judge brightness" in page.read_text()
    with pytest.raises(UserError, match="has the column quality_before already"):
        judge(str(table), [f"{__name__}:quality"], CONFIG)
    with pytest.raises(UserError, match="there is no table at"):
        judge(str(tmp_path / "none"), ["piqe"], CONFIG)


def quality(image: np.ndarray) -> float:
    return 0.0


def test_the_command_line_adds_judges(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [flag for one in SETTINGS for flag in ("--set", one)]
    code = app(["score", str(table), "--judge", NAME, *flags], standalone_mode=False)
    assert code == 0
    assert f"judge      {NAME}: {ROWS} rows, 0 judged before" in capsys.readouterr().out


def judge_and_die(table: str, commits: int) -> None:
    """Judge each shard in a commit of its own, and die as by ``kill -9`` after some of them."""
    commit, count = Table.commit, iter(range(100))

    def some(self: Table, *arguments: Any, **options: Any) -> None:
        if next(count) >= commits:
            runs.die()
        commit(self, *arguments, **options)

    Table.commit = some  # type: ignore[method-assign]
    judge(table, [NAME], load_config(None, [*SETTINGS, "stream.commit_seconds=0.000001"]))


@pytest.mark.parametrize("commits", [0, 1])
def test_a_kill_loses_nothing_and_the_same_call_continues(table: Path, commits: int) -> None:
    process = runs.CHILDREN.Process(target=judge_and_die, args=(str(table), commits))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    done = ROWS // 2 * commits
    assert len(scores(table)) == done
    (summary,) = judge(str(table), [NAME], CONFIG)
    assert (summary.judged, summary.kept) == (ROWS - done, done)
    assert {place: after for place, (_, after) in scores(table).items()} == pytest.approx(expected(table))
    names = {path.name for path in (table / "_judges" / "brightness").glob("*.parquet")}
    assert len(names) == 2  # what the dead one wrote and did not commit is gone
