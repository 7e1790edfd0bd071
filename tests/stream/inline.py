"""`qrefine refine` without Ray, in processes that are cheap to start and die where a test wants them to.

Listing, lease, plan, reading, rows, parts, commits and reconciling are the real ones; only the pools are a loop.
A Ray starts in ten seconds, this in a fraction of one: hundreds of kills become affordable.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from qrefine.cli import app as cli
from qrefine.config import load_config
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.storage import store as storage
from qrefine.stream import committer, driver, merging, nightly, write
from qrefine.stream.blocks import load_batch, run_on_batch
from qrefine.stream.source import ShardPlan, ShardSource
from qrefine.stream.write import Target, write_batch
from qrefine.table import lease, parts, table

STUB = (
    "mapper.name=tests.stream.backends:BrightnessMapper",
    "mapper.grid=4",
    "inpaint.name=tests.stream.backends:BrightRestorer",
    "enhance.blind.name=tests.stream.backends:BrightRestorer",
    "judges=[]",
    "stream.commit_seconds=0.000001",  # each part in a commit of its own
)
BLOCK_BYTES = 1500.0  # two or three of the tests' images
PROTOCOL = {module.__file__ for module in (parts, storage, lease, table, driver, committer, write)}
CHILDREN = multiprocessing.get_context("forkserver")  # plain forks would inherit deltalake's dead threads
CHILDREN.set_forkserver_preload([__name__, "s3fs"])


class Inline:
    """Stands where a Ray dataset stands: its batches are the records of the parts that it writes."""

    def __init__(self, plans: Sequence[ShardPlan], target: Target, reason: str | None = None) -> None:
        self._plans, self._target, self._reason = plans, target, reason

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        config = self._target.config
        stages = build_stages(MODEL_STAGES, config)
        for task in ShardSource(self._plans, config, BLOCK_BYTES, self._target.run).get_read_tasks(1):
            for block in task():
                rows = block if self._reason else run_on_batch(load_batch(block, stages, config), stages)
                yield write_batch(rows, self._target, self._reason)


def without_ray() -> None:
    """Put a loop where the driver would start Ray."""
    for module, name, stand_in in stand_ins():
        setattr(module, name, stand_in)


def stand_ins() -> Iterator[tuple[Any, str, Any]]:
    """What stands where Ray is asked: modules, names in them, and what they are bound to."""
    yield driver, "session", lambda *_: contextlib.nullcontext()
    yield driver, "ray", SimpleNamespace(cluster_resources=lambda: {"CPU": 1.0})
    yield driver, "alive_nodes", lambda: 1
    yield driver, "refine_stream", lambda plans, topology, target, **_: Inline(plans, target)
    yield driver, "failure_stream", lambda plans, target, reason: Inline(plans, target, reason)
    yield nightly, "session", lambda *_: contextlib.nullcontext()
    yield nightly, "merge", lambda jobs, target, add: add([merging._merge(job, target) for job in jobs])


def start(
    arguments: Sequence[str],
    before: Callable[..., None] | None = None,
    *given: Any,
    settings: Sequence[str] = STUB,
    environment: Mapping[str, str] | None = None,
    said: Path | None = None,
) -> Any:
    """A process that runs ``qrefine refine`` on the arguments; ``before(*given)`` is called in it first.

    What it says goes to the file ``said``.
    """
    process = CHILDREN.Process(
        target=_refine, args=(list(arguments), list(settings), dict(environment or {}), said, before, given)
    )
    process.start()
    return process


def run(arguments: Sequence[str], before: Callable[..., None] | None = None, *given: Any, **options: Any) -> int:
    """The exit code; the negative number of a signal that ended it."""
    process = start(arguments, before, *given, **options)
    process.join(120)
    code = process.exitcode
    assert code is not None, "it hangs"
    return int(code)


def _refine(
    arguments: list[str],
    settings: list[str],
    environment: dict[str, str],
    said: Path | None,
    before: Callable[..., None] | None,
    given: tuple[Any, ...],
) -> None:
    os.environ.update(environment)
    without_ray()
    load_config(None, settings)  # what a mistake in the test's settings says
    flags = [flag for setting in settings for flag in ("--set", setting)]
    sys.argv = ["qrefine", "refine", *arguments, *flags]
    with open(said or os.devnull, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if before is not None:
        before(*given)
    cli.main()


def die() -> None:
    """As by ``kill -9``: no handler runs, no file is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_at_line(limit: int, count_file: str | None = None) -> None:
    """Die before the ``limit``-th line of the commit protocol's modules that is run, in whatever thread; 0: never.

    With a file: write there how many lines a run that lives has run.
    """
    count = 0

    def local(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if limit and count >= limit:
                die()
        return local

    def trace(frame: Any, event: str, argument: Any) -> Any:
        return local if frame.f_code.co_filename in PROTOCOL else None

    threading.settrace(trace)
    sys.settrace(trace)
    if count_file is not None:
        exit = sys.exit

        def count_and_exit(code: int) -> None:
            Path(count_file).write_text(str(count))
            exit(code)

        cli.sys = SimpleNamespace(argv=sys.argv, exit=count_and_exit, stderr=sys.stderr)  # type: ignore[attr-defined]


def die_in_commit(number: int, seconds: float) -> None:
    """Die a moment after Delta began to write the ``number``-th commit: inside its native code."""
    original = table.DeltaTable.create_write_transaction
    commits = 0

    def commit(*arguments: Any, **options: Any) -> None:
        nonlocal commits
        commits += 1
        if commits == number:
            threading.Thread(target=lambda: (time.sleep(seconds), die())).start()
        original(*arguments, **options)

    table.DeltaTable.create_write_transaction = commit
