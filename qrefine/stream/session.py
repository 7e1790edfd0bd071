"""A Ray session: the job's own cluster, the one that the settings name, or a quiet local one."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants, ray_logging
from ray.data import DataContext

from qrefine.config import StreamSettings
from qrefine.errors import UserError

LOCAL_STORE_MB = 512  # limits read-ahead: a large shard must not fill the memory
# nobody watches a local Ray, which has no dashboard: metrics and events took a fifth of what it takes when idle
UNWATCHED = {"enable_metrics_collection": False, "task_events_report_interval_ms": 0}
NO_PROGRESS_S = 6 * 3600.0  # a slow model start or a long compilation is not a hang
ACTOR_DEATHS_AT_START = 5


@contextmanager
def session(settings: StreamSettings, debug: bool = False) -> Iterator[None]:
    """Connect to Ray or start a local one, which is stopped on exit. Raises UserError if that fails."""
    if ray.is_initialized():
        _configure(debug)
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = settings.address is None and "RAY_ADDRESS" not in os.environ
    if not debug:
        os.environ.setdefault(
            "RAY_BACKEND_LOG_LEVEL", "fatal"
        )  # of this process's C++ core; Python errors are still raised
    options: dict[str, Any] = {
        "address": "local" if local else settings.address,  # not the cluster last started on this machine
        "log_to_driver": debug,
        "logging_level": logging.INFO if debug else logging.ERROR,
    }
    if local:
        store = (settings.store_mb or LOCAL_STORE_MB) * 2**20
        options |= {"object_store_memory": store, "include_dashboard": False, "_system_config": UNWATCHED}
    try:
        with (
            contextlib.nullcontext() if debug else _silenced_stderr(),
            _loopback_only() if local else contextlib.nullcontext(),
        ):
            ray.init(**options)
    except Exception as error:  # Ray raises a bare Exception if a node does not start in time
        raise UserError(f"cannot use Ray at {settings.address or 'this machine'}: {error}") from error
    try:
        _configure(debug)
        with contextlib.nullcontext() if debug else _quiet_raylets():
            yield
    finally:
        ray.shutdown()


@contextmanager
def _loopback_only() -> Iterator[None]:
    """A local Ray listens on 127.0.0.1 only, because anyone who can connect can run code.

    Ray has one switch for this, an environment variable named after the systems on which it is the default. This
    process read it when it imported ray; the processes of the new Ray inherit it.
    """
    switch, here = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    said = os.environ.get(switch)
    os.environ[switch], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = here
        os.environ.pop(switch)
        if said is not None:
            os.environ[switch] = said


@contextmanager
def _quiet_raylets() -> Iterator[None]:
    """Hide what Ray prints for a lost node, twenty lines of its raylet's log; the progress lines count nodes."""
    printer = ray_logging.stdout_deduplicator
    before, printer.skip_re = printer.skip_re, re.compile("")
    try:
        yield
    finally:
        printer.skip_re = before


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Hide what Ray's C++ core writes to the file descriptor while it starts; Python errors are still raised."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _configure(debug: bool) -> None:
    """Settings of Ray Data; the reasons were measured on Ray 2.60."""
    context = DataContext.get_current()
    context.enable_progress_bars = debug
    context.print_on_execution_start = debug
    context.enable_auto_log_stats = False
    context.max_errored_blocks = -1  # a block lost with its actor is retried by the run, not fatal
    context.max_consecutive_actor_init_deaths = ACTOR_DEATHS_AT_START
    context.execution_no_progress_timeout_s = NO_PROGRESS_S
    context.wait_for_min_actors_s = 0  # start with the first actor; others may still wait for their node
    if not debug:
        # Ray prints a stack trace for each lost block and warns of idle pools; the summary counts lost rows
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=r"ray\.data\.")
