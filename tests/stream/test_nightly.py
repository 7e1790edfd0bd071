"""Nights on real Ray and real Delta tables: new, changed, vanished shards, and rows that are done again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import deltalake
import pytest

from qrefine.config import RefineConfig, load_config
from qrefine.data.changes import Again
from qrefine.data.night import plan_nightly
from qrefine.stream.driver import refine
from qrefine.stream.nightly import nightly
from tests.conftest import PLAIN, encoded, photo, write_shards, write_tar
from tests.stream.backends import KILLER, THROWER

pytestmark = pytest.mark.usefixtures("cluster")
CONFIG = load_config(None, PLAIN)
DANGEROUS = load_config(None, [*PLAIN, "mapper.name=tests.stream.backends:DangerousMapper", "stream.retries=0"])


def rows_of(table: Path, version: int | None = None) -> list[dict[str, Any]]:
    rows = deltalake.DeltaTable(str(table), version=version).to_pyarrow_table().to_pylist()
    places = [(row["shard"], row["index"]) for row in rows]
    assert len(set(places)) == len(places)
    return sorted(rows, key=lambda row: (row["shard"], row["index"]))


def by_shard(table: Path, version: int | None = None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(table, version):
        found.setdefault(Path(row["shard"]).name, []).append(row)
    return found


def version_of(table: Path) -> int:
    return deltalake.DeltaTable(str(table)).version()


def test_a_night_brings_new_and_changed_shards_by_one_commit_and_touches_no_other(tmp_path: Path) -> None:
    folder, table = tmp_path / "in", tmp_path / "table"
    folder.mkdir()
    paths = write_shards(folder, shards=3, samples=4)
    refine([str(folder)], str(table), CONFIG)
    before, version = by_shard(table), version_of(table)
    assert {row["shard_version"] for row in before["000000.tar"]} == {
        f"{paths[0].stat().st_size}-{paths[0].stat().st_mtime}"
    }

    write_tar(paths[1], [("a.png", encoded(photo(size=64))), ("b.png", encoded(photo("coffee", 64)))])
    write_tar(folder / "new.tar", [("c.png", encoded(photo("rocket", 64)))])
    paths[2].unlink()
    plan = plan_nightly([str(folder)], str(table), CONFIG, Again())
    assert (plan.new, plan.changed, plan.incomplete, plan.shards_read) == (1, 1, 0, 2)
    assert plan.vanished == (str(paths[2]),)
    assert version_of(table) == version

    summary = nightly([str(folder)], str(table), CONFIG)
    assert summary.version == version_of(table) == version + 1
    assert (summary.samples, summary.plan.changed, summary.plan.new) == (3, 1, 1)
    after = by_shard(table)
    assert after["000000.tar"] == before["000000.tar"]
    assert after["000002.tar"] == before["000002.tar"]
    assert [row["key"] for row in after["000001.tar"]] == ["a", "b"]
    assert [row["key"] for row in after["new.tar"]] == ["c"]
    told = deltalake.DeltaTable(str(table)).history(1)[0]["qrefine"]["nightly"]
    assert (told["samples"], told["plan"]["vanished"]) == (3, 1)

    again = nightly([str(folder)], str(table), CONFIG)
    assert not again.committed
    assert version_of(table) == version + 1
    pruned = nightly([str(folder)], str(table), CONFIG, prune=True)
    assert pruned.plan.pruned_rows == 4
    assert set(by_shard(table)) == {"000000.tar", "000001.tar", "new.tar"}
    assert by_shard(table, version)["000002.tar"] == before["000002.tar"]
