from __future__ import annotations

import io

import pytest
from qrefine.stream.progress import Display, Tally, clock
from rich.console import Console

from qrefine.stream import progress
from qrefine.table.ledger import Ledger, Rows
from qrefine.table.parts import PartRecord


def record(shard: str, rows: tuple[int, int], total: int | None, **statuses: int) -> PartRecord:
    errors = {"shard damaged": statuses["failed"]} if statuses.get("failed") else {}
    return PartRecord("p", 100, shard, (rows,), total, None, statuses, "{}", errors, 1, 10, (0.5, 0.75, 1))


def test_a_tally_counts_each_shard_once_when_it_is_complete() -> None:
    tally, ledger = Tally(shards=2), Ledger()
    for part in (record("a", (4, 6), 6, kept=2), record("a", (0, 4), None, refined=3, failed=1)):
        assert ledger.admit(part.shard, Rows.from_ranges(part.rows), part.shard_rows)
        tally.add(part, ledger)
    assert (tally.shards_done, tally.samples, tally.failed_shards) == (1, 6, 1)
    assert tally.statuses == {"kept": 2, "refined": 3, "failed": 1}
    assert (tally.quality_before, tally.quality_after, tally.scored, tally.extra_images) == (1.0, 1.5, 2, 2)


def test_a_shard_whose_parts_come_in_one_commit_counts_once() -> None:
    tally, ledger = Tally(shards=1), Ledger()
    parts = [record("a", (0, 4), None, kept=4), record("a", (4, 8), None, kept=4), record("a", (8, 9), 9, kept=1)]
    assert all(ledger.admit(part.shard, Rows.from_ranges(part.rows), part.shard_rows) for part in parts)
    for part in parts:
        tally.add(part, ledger)
    assert tally.shards_done == 1


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    tally = Tally(shards=4, bytes_to_do=400, bytes_done=100, shards_done=1, started=0.0)
    tally.statuses["kept"] += 30
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.01)
    monkeypatch.setattr(Tally, "elapsed", 20.0)
    with Display(tally, Console(file=out)):
        while not out.getvalue().endswith("\n"):
            pass
    expected = "shards 1/4 | 30 samples: 0 refined, 30 kept, 0 failed | 1.5 images/s | 0:20 | 1:00 left"
    assert set(out.getvalue().splitlines()) == {expected}


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    with Display(Tally(shards=4), Console(file=out, force_terminal=True, width=120)) as display:
        display.show()
    assert "images/s" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
