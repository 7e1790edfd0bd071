"""One writer at a time, whatever the others do."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from qrefine.errors import TableBusyError
from qrefine.storage.store import Store
from qrefine.table import lease as module
from qrefine.table.lease import EXPIRY_S, FOLDER, Holder, Lease


def leave(root: Path, generation: int = 1, **changes: Any) -> Path:
    """A lease object as a run on another machine leaves it."""
    now = time.time()
    holder = replace(Holder("other", "far-away", 1, now, now), **changes)
    path = root / FOLDER / f"lease-{generation:08d}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))
    return path


def objects(root: Path) -> list[str]:
    return sorted(path.name for path in (root / FOLDER).iterdir())


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_run_is_refused_and_told_who_holds_the_table(tmp_path: Path) -> None:
    with Lease(Store.at(str(tmp_path)), "first") as held:
        assert held.held()
        assert not held.after_death
        with pytest.raises(
            TableBusyError, match=f"in use by run first on .* \\(process {os.getpid()}\\)"
        ) as caught:
            Lease(Store.at(str(tmp_path)), "second").__enter__()
        assert caught.value.exit_code == 4
        assert held.held()


def test_a_released_table_is_free_at_once_and_objects_do_not_pile_up(tmp_path: Path) -> None:
    for i in range(4):
        with Lease(Store.at(str(tmp_path)), f"run{i}") as held:
            assert held.held()
            assert objects(tmp_path) == [f"lease-{i + 1:08d}.json"]
    assert json.loads((tmp_path / FOLDER / "lease-00000004.json").read_text())["released"] is True


@pytest.mark.parametrize(
    ("changes", "died"),
    [
        ({"released": True}, False),
        ({"renewed": time.time() - EXPIRY_S - 1000}, True),
        ({"host": socket.gethostname(), "pid": dead_pid()}, True),
    ],
    ids=["released", "expired", "process gone"],
)
def test_a_dead_holder_is_taken_over_and_told(tmp_path: Path, changes: dict[str, Any], died: bool) -> None:
    leave(tmp_path, **changes)
    with Lease(Store.at(str(tmp_path)), "heir") as held:
        assert held.held()
        assert held.after_death is died
        assert objects(tmp_path) == ["lease-00000002.json"]


def test_a_live_holder_on_another_machine_is_respected(tmp_path: Path) -> None:
    leave(tmp_path, pid=dead_pid())  # its process number says nothing here
    with pytest.raises(TableBusyError, match="run other on far-away"):
        Lease(Store.at(str(tmp_path)), "second").__enter__()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"who": "knows"}'])
def test_an_object_that_is_no_lease_holds_nobody_up(tmp_path: Path, text: str) -> None:
    leave(tmp_path).write_text(text)
    with Lease(Store.at(str(tmp_path)), "run") as held:
        assert held.held()


def test_a_holder_finds_that_it_lost_the_lease_and_leaves_the_new_one_alone(tmp_path: Path) -> None:
    with Lease(Store.at(str(tmp_path)), "paused") as held:
        taken = leave(tmp_path, generation=2, run="heir")
        text = taken.read_text()
        assert not held.held()
        taken.unlink()
        assert not held.held()  # once lost is lost
        taken.write_text(text)
    assert taken.read_text() == text


@pytest.mark.parametrize("generation", [2, 3], ids=["came", "came after one that came and went"])
def test_a_run_that_was_too_slow_to_take_over_sees_who_was_faster(tmp_path: Path, generation: int) -> None:
    # it looked when generation 1 was dead, and writes when the faster run has written, and removed what was older
    leave(tmp_path, released=True)

    class Slow(Store):
        def join(self, name: str) -> Store:
            return Slow(f"{self.url}/{name}", self.options)

        def create(self, name: str, data: bytes) -> None:
            if len(objects(tmp_path)) == 1:
                leave(tmp_path, generation, run="faster")
            super().create(name, data)

    with pytest.raises(TableBusyError, match="run faster"):
        Lease(Slow.at(str(tmp_path)), "slow").__enter__()
    assert objects(tmp_path) == ["lease-00000001.json", f"lease-{generation:08d}.json"]


def test_the_holder_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.001)
    path = tmp_path / FOLDER / "lease-00000001.json"
    with Lease(Store.at(str(tmp_path)), "run"):
        first = json.loads(path.read_text())
        deadline = time.monotonic() + 20
        while json.loads(path.read_text())["renewed"] == first["renewed"]:
            assert time.monotonic() < deadline
        assert json.loads(path.read_text())["since"] == first["since"]


def _race(root: str, start: Any, results: Any) -> None:
    start.wait()
    try:
        lease = Lease(Store.at(root), str(os.getpid()))
        lease.__enter__()
    except TableBusyError:
        results.put(False)
    else:
        results.put(lease.held())
    start.wait()  # all stay alive until all have tried


@pytest.mark.parametrize("before", ["nothing", "a dead holder"])
def test_of_processes_that_race_for_a_table_exactly_one_gets_it(tmp_path: Path, before: str) -> None:
    if before != "nothing":
        leave(tmp_path, released=True)
    context = multiprocessing.get_context("fork")
    racers = 4
    start, results = context.Barrier(racers), context.Queue()
    processes = [context.Process(target=_race, args=(str(tmp_path), start, results)) for _ in range(racers)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert sorted(outcomes) == [False] * (racers - 1) + [True]
