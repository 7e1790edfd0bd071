from __future__ import annotations

import io

import pytest
from rich.console import Console

from qrefine.table.ledger import Ledger, Rows
from qrefine.table.parts import PartRecord
from qrefine.work import progress
from qrefine.work.progress import Display, Totals, clock


def record(shard: str, rows: tuple[int, int], total: int | None, **statuses: int) -> PartRecord:
    errors = {"shard damaged": statuses["failed"]} if statuses.get("failed") else {}
    return PartRecord("p", 100, shard, (rows,), total, None, statuses, "{}", errors, 1, 10, (0.5, 0.75, 1))


def test_totals_count_each_shard_once_when_it_is_complete() -> None:
    totals, ledger = Totals(shards=2), Ledger()
    for part in (record("a", (4, 6), 6, kept=2), record("a", (0, 4), None, refined=3, failed=1)):
        assert ledger.admit(part.shard, Rows.from_ranges(part.rows), part.shard_rows)
        totals.add(part, ledger)
    assert (totals.shards_done, totals.samples, totals.failed_shards) == (1, 6, 1)
    assert totals.statuses == {"kept": 2, "refined": 3, "failed": 1}
    assert (totals.quality_before, totals.quality_after, totals.scored, totals.extra_images) == (1.0, 1.5, 2, 2)


def test_a_shard_whose_parts_come_in_one_commit_counts_once() -> None:
    totals, ledger = Totals(shards=1), Ledger()
    parts = [record("a", (0, 4), None, kept=4), record("a", (4, 8), None, kept=4), record("a", (8, 9), 9, kept=1)]
    assert all(ledger.admit(part.shard, Rows.from_ranges(part.rows), part.shard_rows) for part in parts)
    for part in parts:
        totals.add(part, ledger)
    assert totals.shards_done == 1


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    totals = Totals(shards=4, bytes_to_do=400, bytes_done=100, shards_done=1, started=0.0)
    totals.statuses["kept"] += 30
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.01)
    monkeypatch.setattr(Totals, "elapsed", 20.0)
    with Display(totals, lambda: 1, Console(file=out)):
        while not out.getvalue().endswith("\n"):
            pass
    expected = "shards 1/4 | 30 samples: 0 refined, 30 kept, 0 failed | 1.5 images/s | 0:20 | 1:00 left"
    assert set(out.getvalue().splitlines()) == {expected}


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with Display(Totals(shards=4), lambda: 1, Console(file=out, force_terminal=True, width=120)) as display:
        display.show()
    assert "images/s" in out.getvalue()


def test_what_is_new_is_told_once() -> None:
    out = io.StringIO()
    totals, nodes = Totals(shards=4), iter([3, 3, 2, 2])
    display = Display(totals, lambda: next(nodes), Console(file=out))
    display.show()
    totals.errors["not an image"] += 5
    display.show()
    display.show()
    told = [line for line in out.getvalue().splitlines() if not line.startswith("shards ")]
    assert told == ["failing: not an image (5 so far)", "nodes: 2 alive, 3 before"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
