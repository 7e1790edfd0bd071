"""What a night finds to do, by the listing and the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrefine.config import load_config
from qrefine.corpus.listing import Shard
from qrefine.nightly.changes import Again, Changes, compare, coverage, plan_digest, select_rows
from qrefine.storage.store import Store
from qrefine.table.ledger import Rows
from qrefine.table.pieces import build_ledger
from qrefine.table.table import Table
from tests.table.parts import CONFIG, SCHEMA, part, rows

OTHER = load_config(None, ["mapper.grid=2", "bounds.mq=0.5"])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """a: complete, with failures; b: incomplete; c: of another configuration; d: read from two versions."""
    table = Table.open_or_create(Store.at(str(tmp_path)), SCHEMA)
    parts = [
        rows([(0, "kept"), (1, "failed"), (2, "refined")], "a.tar"),
        rows([(3, "kept")], "a.tar", 4),
        rows([(0, "kept"), (2, "kept")], "b.tar"),
        rows([(0, "kept"), (1, "refined")], "c.tar", 2, config=OTHER),
        rows([(0, "kept")], "d.tar", version="9-old"),
        rows([(1, "kept")], "d.tar", 2, version="9-v"),
    ]
    table.commit([part(tmp_path, one) for one in parts], run="r")
    return table


def listing(*names: str, version: str | None = "9-v") -> list[Shard]:
    return [Shard(f"{name}.tar", 9, version) for name in names]


def changes_of(table: Table, shards: list[Shard], again: Again | None = None) -> Changes:
    pieces = table.pieces()
    found = compare(["*.tar"], shards, pieces, build_ledger(pieces, table.read))
    return select_rows(found, shards, pieces, again or Again(), CONFIG.digest, table.read)


def test_shards_are_new_changed_incomplete_or_as_they_were(table: Table) -> None:
    found = changes_of(table, listing("a", "b", "d", "e"))
    assert (found.new, found.changed, found.incomplete) == (("e.tar",), ("d.tar",), ("b.tar",))
    assert found.again == {}
    changed = changes_of(table, listing("a", "b", "c", "d", version="8-w"))
    assert changed.changed == ("a.tar", "b.tar", "c.tar", "d.tar")
    assert changes_of(table, listing("a", "c", "d", version=None)).changed == ()


def test_what_vanished_is_what_the_patterns_cover() -> None:
    covers = coverage(["/data/in", "s3://b/{0..2}.tar", "/x/*/s?.tar.gz", "one.tar"])
    here = ("/data/in/a.tar", "/data/in/b.tgz", "/data/in/deep/a.tar", "/data/in/deep/a.PARQUET", "/data/in")
    for url in (*here, "s3://b/1.tar", "/x/y/s1.tar.gz", f"{Path.cwd()}/one.tar"):
        assert covers.fullmatch(url), url
    for url in ("/data/other/a.tar", "/data/inner/a.tar", "s3://b/3.tar", "/x/y/z/s1.tar.gz", "/data/in/a.txt"):
        assert not covers.fullmatch(url), url


def test_shards_elsewhere_have_not_vanished(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = table.pieces()
    ledger = build_ledger(pieces, table.read)
    found = compare(["{a..c}.tar"], listing("a"), pieces, ledger)
    assert (found.vanished, found.elsewhere) == ((), 4 - 1)  # relative names are none that a listing gives
    monkeypatch.setattr("qrefine.nightly.changes.canonical", str)
    found = compare(["{a..c}.tar"], listing("a"), pieces, ledger)
    assert (found.vanished, found.elsewhere) == (("b.tar", "c.tar"), 1)


def test_failed_poor_and_stale_rows_are_found(table: Table) -> None:
    shards = listing("a", "b", "c", "d")
    failed = changes_of(table, shards, Again(failed=True))
    assert {shard: again.rows for shard, again in failed.again.items()} == {"a.tar": Rows([1])}
    assert failed.counts == {"failed": 1, "stale": 0, "below": 0}
    poor = changes_of(table, shards, Again(below=0.7))
    assert {shard: again.rows for shard, again in poor.again.items()} == {
        "a.tar": Rows([0, 3]),
        "b.tar": Rows([0, 2]),
        "c.tar": Rows([0]),
    }
    assert poor.again["a.tar"].contested == poor.again["a.tar"].redrawn == Rows([0, 3])
    assert poor.again["c.tar"].contested == Rows([0])
    assert poor.again["c.tar"].redrawn == Rows()  # other settings make another image with the same seed
    stale = changes_of(table, shards, Again(failed=True, below=0.7, stale=True))
    assert stale.again["c.tar"].rows == Rows([0, 1])
    assert stale.again["c.tar"].contested == Rows()
    assert stale.again["a.tar"].rows == Rows([0, 1, 3])
    assert stale.counts == {"failed": 1, "stale": 2, "below": 4}


def test_parts_are_opened_only_where_they_may_hold_such_rows(table: Table) -> None:
    shards, opened = listing("a", "c"), list[str]()
    pieces = table.pieces()
    found = compare(["*.tar"], shards, pieces, build_ledger(pieces, table.read))

    def read(path: str, columns: object) -> object:
        opened.append(path)
        return table.read(path, columns)  # type: ignore[arg-type]

    for again, expected in ((Again(), 0), (Again(failed=True), 1), (Again(below=0.1), 0), (Again(stale=True), 1)):
        opened.clear()
        select_rows(found, shards, pieces, again, CONFIG.digest, read)  # type: ignore[arg-type]
        assert len(opened) == expected, again


def test_behind_damage_the_sample_before_it_is_done_again_too(tmp_path: Path) -> None:
    table = Table.open_or_create(Store.at(str(tmp_path)), SCHEMA)
    damaged = rows([(0, "kept"), (1, "kept"), (2, "failed")], "a.tar", 3)
    damaged = damaged.set_column(0, "key", [["k0", "k1", ""]])
    table.commit([part(tmp_path, damaged)], run="r")
    found = changes_of(table, listing("a"), Again(failed=True))
    assert found.again["a.tar"].rows == Rows([1, 2])
    assert found.counts["failed"] == 1


def test_a_plan_is_another_where_anything_that_it_does_is() -> None:
    digests = [
        plan_digest("c", Again(), False),
        plan_digest("c", Again(), True),
        plan_digest("d", Again(), False),
        plan_digest("c", Again(failed=True), False),
        plan_digest("c", Again(below=0.5), False),
        plan_digest("c", Again(stale=True), False),
    ]
    assert len(set(digests)) == len(digests)
    assert plan_digest("c", Again(below=0.5), False) == digests[4]
