"""The Python API: refine or score a corpus, bring a table up to date."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.errors import BrokenRunError, UserError
from qrefine.models.registry import check_backends
from qrefine.nightly.changes import Again
from qrefine.nightly.run import AtomicRun, NightSummary
from qrefine.stages.refiner import changing_backends
from qrefine.storage.store import Store
from qrefine.table.export.output import Manifest
from qrefine.table.export.request import Request
from qrefine.table.export.run import export as write_export
from qrefine.table.lease import Lease, new_run
from qrefine.table.schema import judge_column, table_schema
from qrefine.table.table import Table
from qrefine.work.executor import Executor
from qrefine.work.judging import JudgeSummary, add_judge
from qrefine.work.local import LocalExecutor
from qrefine.work.refine import Summary, refine_missing
from qrefine.work.run import ChooseExecutor, Run

LOCAL_BYTES = 64 << 20  # of shards: up to here this process is done before Ray would have started


def refine(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None = None,
    *,
    retry_failed: bool = False,
    debug: bool = False,
    notify: Callable[[str], None] = lambda text: None,
    choose: ChooseExecutor | None = None,
) -> Summary:
    """Refine all shards behind ``inputs`` into the table at ``output``; what is committed already is left alone.

    ``retry_failed``: failed rows are refined again first, in one commit that replaces them. ``choose`` picks the
    executor (default: by ``stream.executor``). Raises UserError for problems that the user must fix. After a kill
    at any point the same call continues.
    """
    with _begun(inputs, output, config, debug, notify, choose) as run:
        if not retry_failed:
            return refine_missing(run, run.table.remove_leftovers(run.name))
        again = AtomicRun(run, inputs, Again(failed=True), only_again=True)
        done = again.work()
        return refine_missing(run, again.leftovers, [f"{done.plan.failed} failed rows were tried again"])


def score(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None = None,
    *,
    retry_failed: bool = False,
    debug: bool = False,
    notify: Callable[[str], None] = lambda text: None,
    choose: ChooseExecutor | None = None,
) -> Summary:
    """`refine` with the settings of `scoring`: maps and judges, and no image in the table."""
    effective = scoring(config or RefineConfig())
    return refine(inputs, output, effective, retry_failed=retry_failed, debug=debug, notify=notify, choose=choose)


def scoring(config: RefineConfig) -> RefineConfig:
    """The same models without refinement: the map and the judges of every image, and no image in the table."""
    images = config.images.model_copy(update={"store": "none"})
    return config.model_copy(update={"stages": (), "judges_on": "all", "images": images})


def judge(
    table: str,
    names: Sequence[str],
    config: RefineConfig | None = None,
    *,
    debug: bool = False,
    notify: Callable[[str], None] = lambda text: None,
    choose: ChooseExecutor | None = None,
) -> list[JudgeSummary]:
    """Add judges to a table that exists, each as a table beside it; rows that it judged before are left alone.

    No image is copied. Raises UserError. After a kill the same call continues.
    """
    config = config or RefineConfig()
    check_backends(config.mapper, (), names)
    found = Table.open(Store.at(table, config.storage_options))
    for name in names:
        if f"{judge_column(name)}_before" in found.schema.names:
            raise UserError(f"{found.root} has the column {judge_column(name)}_before already")
    choose = choose or partial(choose_executor, config, debug)
    return [add_judge(found, name, config, choose, notify) for name in names]


def nightly(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None = None,
    again: Again | None = None,
    *,
    prune: bool = False,
    debug: bool = False,
    notify: Callable[[str], None] = lambda text: None,
    choose: ChooseExecutor | None = None,
) -> NightSummary:
    """Bring the table up to date with ``inputs`` in one commit, or in none if nothing changed.

    Raises UserError for problems that the user must fix. After a kill at any point the same call continues.
    """
    with _begun(inputs, output, config, debug, notify, choose) as run:
        return AtomicRun(run, inputs, again or Again(), prune=prune).work()


def export(
    table: str,
    output: str,
    request: Request | None = None,
    config: RefineConfig | None = None,
    *,
    version: int | None = None,
    debug: bool = False,
    notify: Callable[[int], None] = lambda samples: None,
) -> Manifest:
    """Write a table's images as a training set into an empty folder; ``notify`` gets the number of samples so far.

    Threads of this process do it, or tasks on Ray where ``stream.executor`` or the environment asks for it: the
    files are the same. Raises UserError for problems that the user must fix.
    """
    config = config or RefineConfig()
    found = Table.open(Store.at(table, config.storage_options), version)
    write = partial(write_export, found, Store.at(output, config.storage_options), request, config, notify=notify)
    executor = choose_executor(config, debug, size=0)  # Ray only where it is asked for: large exports need none
    if isinstance(executor, LocalExecutor):
        return write()
    try:
        with executor:
            return write(each=executor.each)
    except BrokenRunError as error:
        raise BrokenRunError(f"{error} into another folder, or empty this one: {output}") from error


@contextmanager
def _begun(
    inputs: Sequence[str],
    output: str,
    config: RefineConfig | None,
    debug: bool,
    notify: Callable[[str], None],
    choose: ChooseExecutor | None,
) -> Iterator[Run]:
    """A run that holds the lease of the table at ``output`` until it ends; no shard is read yet."""
    config = config or RefineConfig()
    check_models(config)
    shards = list_shards(inputs, config.storage_options, config.input.keys)
    table = Table.open_or_create(Store.at(output, config.storage_options), table_schema(config.judges))
    name = new_run()
    with Lease(table.store, name) as lease:
        if added := table.add_columns():
            notify(f"the table is older than the columns {', '.join(added)}: added, null in its rows")
        choose = choose or partial(choose_executor, config, debug, after_death=lease.after_death)
        run = Run(config, table, shards, name, lease, choose, notify)
        try:
            yield run
        finally:
            run.close()


def check_models(config: RefineConfig) -> None:
    """Raises UserError if a model of the configuration is unknown or its weights are missing."""
    comparator = None if config.accept.risk is None or not config.stages else config.accept.judge
    check_backends(config.mapper, changing_backends(config), config.judges, comparator)


def choose_executor(config: RefineConfig, debug: bool, size: int, after_death: bool = False) -> Executor:
    """The executor that ``stream.executor`` names; ``auto``: this process for small inputs, else Ray.

    ``auto`` always uses a Ray cluster that is already available, and takes Ray ``after_death`` of a run: what
    killed it may have been a sample, and on Ray a sample kills an actor alone and becomes a failed row.
    """
    where, small = config.stream.executor, size <= LOCAL_BYTES and not after_death
    if where == "local" or (where == "auto" and small and not _asks_for_ray(config)):
        return LocalExecutor(config.stream.workers)
    from qrefine.stream.executor import RayExecutor  # ray takes seconds to import

    return RayExecutor(config, debug)


def _asks_for_ray(config: RefineConfig) -> bool:
    """Whether the settings or the environment name a Ray cluster, or Ray is already running in this process."""
    stream = config.stream
    ray = sys.modules.get("ray")
    return (
        stream.address is not None
        or stream.pools is not None
        or stream.topology == "pooled"
        or bool(stream.gpus)
        or "RAY_ADDRESS" in os.environ
        or (ray is not None and ray.is_initialized())
    )
