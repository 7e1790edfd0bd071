"""Merges, each a Ray task: parts are rewritten where the cluster is, and no row passes through the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ray
from ray.exceptions import RayError

from qrefine.errors import BrokenRunError
from qrefine.nightly.settle import MergeJob, run_merge
from qrefine.stream.write import Target
from qrefine.table.journal import Entry
from qrefine.table.merge import part_reader
from qrefine.table.table import PART_BYTES

RETRIES = 3  # where a worker dies or the store fails; each try writes parts of its own


def merge(jobs: Sequence[MergeJob], target: Target, add: Callable[[list[Entry]], None]) -> None:
    """Run the jobs; ``add`` is called with what is done every few seconds. Raises BrokenRunError."""
    task = ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=True)(_merge)
    most = max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = list(reversed(jobs))
    running: list[ray.ObjectRef] = []
    try:
        while waiting or running:
            while waiting and len(running) < 2 * most:
                running.append(task.remote(waiting.pop(), target))
            ready, running = ray.wait(
                running, num_returns=len(running), timeout=target.config.stream.commit_seconds
            )
            add(ray.get(ready))
    except RayError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise BrokenRunError(f"a merge of parts failed: {reason}; the same command continues") from error


def _merge(job: MergeJob, target: Target) -> Entry:
    return run_merge(target.store, job, part_reader(target.store), target.run, PART_BYTES)
