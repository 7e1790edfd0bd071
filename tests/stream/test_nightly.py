"""Nights on real Ray: new, changed, vanished shards, rows that are done again, small parts put together."""

from __future__ import annotations

from pathlib import Path

import deltalake
import pytest

from qrefine.api import nightly, refine
from qrefine.config import load_config
from qrefine.nightly.changes import Again
from qrefine.nightly.night import plan_nightly
from tests.nightly.tables import by_shard, grey, rows_of, version_of
from tests.stream.backends import THROWER
from tests.support import PLAIN, encoded, photo, write_shards, write_tar

CONFIG = load_config(None, PLAIN)
DANGEROUS = load_config(None, [*PLAIN, "mapper.name=tests.stream.backends:DangerousMapper", "stream.retries=0"])
ON_RAY = pytest.mark.usefixtures("cluster")


@ON_RAY
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


@ON_RAY
def test_failed_rows_alone_are_tried_again_and_the_others_are_carried_over(tmp_path: Path) -> None:
    members = [(f"{i:03d}.png", grey(THROWER if i in (2, 11) else i)) for i in range(12)]
    members[6] = ("006.png", b"garbage")  # fails whatever is done
    write_tar(tmp_path / "a.tar", members)
    write_shards(tmp_path, shards=1, samples=2)
    table = tmp_path / "table"
    refine([str(tmp_path)], str(table), DANGEROUS)
    before = by_shard(table)["a.tar"]
    assert [row["index"] for row in before if row["status"] == "failed"] == [2, 6, 11]
    version = version_of(table)

    summary = nightly([str(tmp_path)], str(table), CONFIG, Again(failed=True))
    assert (summary.plan.failed, summary.plan.shards_read, summary.samples) == (3, 1, 3)
    assert summary.settled == {"replaced": 2, "failed": 1}
    assert version_of(table) == version + 1
    after = by_shard(table)["a.tar"]
    assert [row["index"] for row in after if row["status"] == "failed"] == [6]
    changed = {row["index"] for row, old in zip(after, before, strict=True) if row != old}
    assert changed == {2, 11}
    assert after[11]["shard_rows"] == 12
    assert not nightly([str(tmp_path)], str(table), CONFIG).committed

    same = nightly([str(tmp_path)], str(table), CONFIG, Again(failed=True))
    assert (same.samples, same.settled) == (1, {"failed": 1})
    assert by_shard(table)["a.tar"] == after


@ON_RAY
def test_small_parts_are_put_together_and_no_row_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qrefine.nightly import rewrites

    write_shards(tmp_path, shards=2, samples=6)
    table = tmp_path / "table"
    config = load_config(None, [*PLAIN, "stream.batch_size=1"])
    refine([str(tmp_path)], str(table), config)
    before = rows_of(table)
    assert len(deltalake.DeltaTable(str(table)).file_uris()) == 12
    monkeypatch.setattr(rewrites, "COMPACT_PARTS", 4)
    summary = nightly([str(tmp_path)], str(table), config)
    assert (summary.compacted, summary.samples) == (2, 0)
    assert len(deltalake.DeltaTable(str(table)).file_uris()) == 2
    assert rows_of(table) == before
    assert not nightly([str(tmp_path)], str(table), config).committed
    assert refine([str(tmp_path)], str(table), config).shards_done_before == 2
