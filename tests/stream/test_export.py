"""Exports on Ray: the same files as in this process, also when a worker dies on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qrefine import api
from qrefine.config import RefineConfig, load_config
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.stream.executor import RayExecutor
from qrefine.table.export.request import Request
from qrefine.table.export.run import export
from qrefine.table.export.select import Choice
from qrefine.table.table import Table
from tests.support import PLAIN
from tests.table.export.corpus import CONFIG, refined, write_corpus

pytestmark = pytest.mark.usefixtures("cluster")
ON_RAY = load_config(None, [*PLAIN, "stream.executor=ray", "stream.commit_seconds=0.5"])

REQUESTS = {
    "webdataset": Request(samples=2),
    "parquet": Request(format="parquet", samples=2),
    "imagefolder": Request(format="imagefolder", samples=2),
    "source": Request(source_layout=True),
    "restoration": Request(pairs="restoration", samples=1),
    "preference": Request(format="parquet", pairs="preference", samples=1),
    "selected": Request(choice=Choice("brightness_before > 10"), samples=1),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two shards; and a judge that was added later, whose scores lie beside the table."""
    folder = tmp_path_factory.mktemp("spread")
    write_corpus(folder / "corpus")
    refined(folder / "corpus", folder / "table")
    api.judge(str(folder / "table"), ["tests.work.test_judging:brightness"], CONFIG)
    return str(folder / "table")


def written(table: str, folder: Path, request: Request, config: RefineConfig) -> dict[str, bytes]:
    manifest = api.export(table, str(folder), request, config)
    assert manifest.samples > 2
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", REQUESTS)
def test_files_are_those_of_an_export_in_this_process(table: str, tmp_path: Path, name: str) -> None:
    here = written(table, tmp_path / "here", REQUESTS[name], CONFIG)
    there = written(table, tmp_path / "there", REQUESTS[name], ON_RAY)
    assert there == here


def test_a_worker_that_dies_leaves_no_trace(table: str, tmp_path: Path) -> None:
    expected = written(table, tmp_path / "here", REQUESTS["webdataset"], CONFIG)
    with RayExecutor(ON_RAY) as executor:

        def each(call: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[list[Any]]:
            return executor.each(partial(dies_once, call, tmp_path / "died"), parts)

        found, out = Table.open(Store.at(table)), Store.at(str(tmp_path / "out"))
        export(found, out, REQUESTS["webdataset"], CONFIG, each=each)
    assert (tmp_path / "died").exists()
    assert files(tmp_path / "out") == expected


def dies_once(call: Callable[[Any], Any], flag: Path, part: Any) -> Any:
    """Does the work, and the first time takes its process along before anybody hears of it."""
    done = call(part)
    if not flag.exists():
        flag.touch()
        os._exit(1)
    return done


@pytest.mark.parametrize(
    "asked", [Request(samples=1), Request(format="parquet", samples=1)], ids=["tar", "parquet"]
)
def test_a_table_without_images_fetches_them_and_a_lost_source_is_told_the_same(
    tmp_path: Path, asked: Request
) -> None:
    corpus, table = tmp_path / "corpus", str(tmp_path / "table")
    write_corpus(corpus)
    api.score([str(corpus)], table, CONFIG)
    assert written(table, tmp_path / "there", asked, ON_RAY) == written(table, tmp_path / "here", asked, CONFIG)
    (corpus / "b.tar").unlink()
    here = api.export(table, str(tmp_path / "lost"), asked, CONFIG)
    there = api.export(table, str(tmp_path / "lost there"), asked, ON_RAY)
    assert here.samples
    assert sum(here.left_out.values()) > 2
    assert there == here
    assert files(tmp_path / "lost there") == files(tmp_path / "lost")


def test_bad_requests_are_one_line_there_too(table: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to export"):
        api.export(table, str(tmp_path / "out"), Request(choice=Choice("quality_before > 7")), ON_RAY)
