"""`qrefine refine` by the local executor, in processes that are cheap to start and die where a test wants it.

A Ray starts in ten seconds, this in a fraction of one: hundreds of kills become affordable. What runs is the
product; only the place where it dies is put in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qrefine import api
from qrefine.cli import app
from qrefine.config import load_config
from qrefine.nightly import run as atomic_run
from qrefine.sample import Sample
from qrefine.storage import store
from qrefine.table import checkpoint, journal, lease, log, parts, table
from qrefine.work import committer, local, refine, write
from qrefine.work import run as work_run

HERE = ("stream.executor=local", "stream.workers=1", "stream.batch_size=2", "stream.part_rows=4")
STUB = (
    *HERE,
    "mapper.name=tests.stream.backends:BrightnessMapper",
    "mapper.grid=4",
    "inpaint.name=tests.stream.backends:BrightRestorer",
    "enhance.blind.name=tests.stream.backends:BrightRestorer",
    "judges=[]",
    "accept.risk=null",  # the stub brightens what is dark, which no judge takes for a repair
    "stream.commit_seconds=0.000001",  # each part in a commit of its own
    "stream.part_seconds=3600",
)
MODULES = (
    *(parts, store, lease, journal, log, checkpoint, table, atomic_run, api),
    *(committer, local, refine, work_run, write),
)
PROTOCOL = {module.__file__ for module in MODULES}
CHILDREN = multiprocessing.get_context("forkserver")  # plain forks would inherit deltalake's dead threads
CHILDREN.set_forkserver_preload([__name__, "s3fs", "torch", "qrefine.stages.refiner", "tests.stream.backends"])


def start(
    arguments: Sequence[str],
    before: Callable[..., None] | None = None,
    *given: Any,
    settings: Sequence[str] = STUB,
    environment: Mapping[str, str] | None = None,
    said: Path | None = None,
    tally: Path | None = None,
) -> Any:
    """A process that runs ``qrefine refine`` on the arguments; ``before(*given)`` is called in it first.

    What it says goes to the file ``said``; ``tally`` grows by a byte for each sample that it processes.
    """
    process = CHILDREN.Process(
        target=_refine,
        args=(list(arguments), list(settings), dict(environment or {}), said, tally, before, given),
    )
    process.start()
    return process


def finish(
    arguments: Sequence[str], before: Callable[..., None] | None = None, *given: Any, **options: Any
) -> int:
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
    tally: Path | None,
    before: Callable[..., None] | None,
    given: tuple[Any, ...],
) -> None:
    os.environ.update(environment)
    load_config(None, settings)  # what a mistake in the test's settings says
    flags = [flag for setting in settings for flag in ("--set", setting)]
    sys.argv = ["qrefine", "refine", *arguments, *flags]
    with open(said or os.devnull, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if tally is not None:
        _count_processed(tally)
    # checkpoints as of a large table: often met, and in pieces
    checkpoint.EVERY = 3
    table.write_checkpoint = partial(checkpoint.write_checkpoint, most=1)  # type: ignore[assignment]
    committer.SHARE = 1.0  # commits are as frequent as parts, however much time they take of so short a run
    if before is not None:
        before(*given)
    app.main()


def _count_processed(tally: Path) -> None:
    process = local.process

    def counted(samples: Sequence[Sample], *arguments: Any) -> list[Sample]:
        with tally.open("ab", buffering=0) as file:
            file.write(b"." * len(samples))
        return process(samples, *arguments)

    local.process = counted  # type: ignore[assignment]


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

        app.sys = SimpleNamespace(argv=sys.argv, exit=count_and_exit, stderr=sys.stderr)  # type: ignore[attr-defined]


def die_in_commit(number: int, seconds: float) -> None:
    """Die a moment after the ``number``-th commit began to be written."""
    create = log.Log.create
    commits = 0

    def commit(*arguments: Any) -> bool:
        nonlocal commits
        commits += 1
        if commits == number:
            threading.Thread(target=lambda: (time.sleep(seconds), die())).start()
        return create(*arguments)

    log.Log.create = commit  # type: ignore[method-assign]
