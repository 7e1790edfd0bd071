"""Checks of the rights on input and output, by trying each operation."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from qrefine.config import RefineConfig
from qrefine.corpus.listing import list_shards
from qrefine.corpus.readers import first_file, read_unit
from qrefine.corpus.units import Shard
from qrefine.doctor.findings import Finding, blocker, ok, warning
from qrefine.doctor.network import refusal
from qrefine.errors import UserError
from qrefine.storage.errors import storage_error
from qrefine.storage.store import Store, canonical
from qrefine.table.lease import FOLDER

GB = 1e9
FIRST, SECOND = b'{"doctor": 1}', b'{"doctor": 2}'  # the content shows which create succeeded
LISTED = "let these credentials list and read it, and check the URL's spelling"
WRITTEN = "let these credentials put, get, list and delete objects below it"
CONDITIONAL = (
    "use a store that refuses to overwrite on If-None-Match: * (AWS S3, Google, Azure, Ceph 16, MinIO);"
    " without it two runs on one table are not kept apart"
)


def examine_storage(inputs: Sequence[str], output: str, config: RefineConfig) -> list[Finding]:
    """Tries each operation that a run needs once; everything written is deleted again."""
    silent = [*dict.fromkeys(filter(None, (_silent(url, config.storage_options) for url in (*inputs, output))))]
    if silent:
        mend = "check AWS_ENDPOINT_URL or storage_options.endpoint_url, and that this machine may reach it"
        return [blocker("store", text, mend) for text in silent]
    found, size = examine_input(inputs, config)
    return [*found, *examine_output(Store.at(output, config.storage_options)), *check_space(output, size)]


def _silent(url: str, options: dict[str, Any]) -> str | None:
    """Why a configured S3 endpoint refuses connections, or None; the S3 client would retry for minutes."""
    named = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url")
    address = named or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not address or not url.startswith(("s3://", "s3a://")):
        return None
    parts = urlsplit(str(address))
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError as error:
        return f"nothing answers at {address}: {error}"
    reason = refusal(parts.hostname or "", port)
    return reason and f"nothing answers at {address}: {reason}"


def examine_input(inputs: Sequence[str], config: RefineConfig) -> tuple[list[Finding], int]:
    """Lists the shards and reads the first sample of the first; returns findings and the bytes listed."""
    try:
        shards = list_shards(inputs, config.storage_options, config.input.keys)
    except UserError as error:
        return [blocker("input", str(error), LISTED)], 0
    except Exception as error:  # stores raise their own classes
        return [blocker("input", str(storage_error(inputs[0], error)), LISTED)], 0
    size = sum(shard.size or 0 for shard in shards)
    listed = ok("input", f"{len(shards)} shards of {size / GB:.2f} GB")
    return [listed, _first_sample(shards[0], config)], size


def _first_sample(shard: Shard, config: RefineConfig) -> Finding:
    try:
        with first_file(shard, config).open() as file:
            file.read(1)
    except Exception as error:  # stores raise their own classes
        return blocker("input", str(storage_error(shard.url, error)), LISTED)
    samples = read_unit(shard, config, retries=1)
    with contextlib.closing(samples):  # type: ignore[type-var]  # closes the files that the generator holds open
        sample = next(samples)
    if sample.error is not None:
        return warning(
            "input",
            f"the first sample of {shard.url}: {sample.error}",
            "damage becomes failed rows and the run goes on; look whether it is the whole corpus",
        )
    return ok("input", f"the first shard reads: sample {sample.key!r}, {len(sample.source or b'')} bytes")


def examine_output(store: Store) -> list[Finding]:
    """Creates an object, tries to create it again, lists it, commits to a Delta table beside it, deletes both."""
    try:
        with beacon(store) as name:
            found = [_created_once(store, name), *_listed(store, name), _committed(store)]
    except UserError as error:
        return [blocker("output", str(error), WRITTEN)]
    return [*found, _table(store)]


@contextmanager
def beacon(store: Store) -> Iterator[str]:
    """An object in the table's ``_qrefine`` folder while entered, given by its name; leaves nothing behind.

    Raises UserError if it cannot be written or deleted.
    """
    name = f"{FOLDER}/doctor-{uuid.uuid4().hex}.json"
    made = _missing_folders(f"{store.base}/{FOLDER}") if store.is_local else []
    try:
        try:
            store.make_folder(FOLDER)
            store.create(name, FIRST)
        except Exception as error:  # stores raise their own classes
            raise storage_error(store.url, error) from error
        try:
            yield name
        finally:
            with _deleting(store):
                store.remove(name)
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # not empty any more
                os.rmdir(folder)


@contextmanager
def _deleting(store: Store) -> Iterator[None]:
    """Raises UserError if the store refuses to delete."""
    try:
        yield
    except Exception as error:  # stores raise their own classes
        raise UserError(f"what was written cannot be deleted: {storage_error(store.url, error)}") from error


def _missing_folders(folder: str) -> list[str]:
    """Folders on the path that do not exist yet, innermost first."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def _created_once(store: Store, name: str) -> Finding:
    try:
        store.create(name, SECOND)
    except FileExistsError:
        return ok("output", "creates objects, and refuses to create one twice")
    except Exception as error:
        return blocker("output", f"conditional create: {storage_error(store.url, error)}", CONDITIONAL)
    return blocker("output", f"{store.url} overwrote an object that it was told to create anew", CONDITIONAL)


def _listed(store: Store, name: str) -> Iterator[Finding]:
    try:
        listed = name.removeprefix(f"{FOLDER}/") in store.names(FOLDER)
        data = store.read(name)
    except Exception as error:
        yield blocker("output", str(storage_error(store.url, error)), WRITTEN)
        return
    if not listed or data != FIRST:
        yield blocker(
            "output",
            f"{store.url} does not list or give back what was just written",
            "use a store that is consistent",
        )


def _committed(store: Store) -> Finding:
    """A commit by ``deltalake``, which has its own store client and its own names for the same options."""
    probe, columns = f"{FOLDER}/doctor-{uuid.uuid4().hex}", pa.schema([("x", pa.int8())])
    try:
        DeltaTable.create(store.join(probe).url, columns, storage_options=store.delta_options)
    except (DeltaError, OSError) as error:
        return blocker("output", f"deltalake: {storage_error(store.url, error)}", WRITTEN)
    finally:
        with _deleting(store):
            store.remove_folder(probe)
    return ok("output", "commits to a Delta log, and deletes it again")


def _table(store: Store) -> Finding:
    try:
        if not DeltaTable.is_deltatable(store.url, store.delta_options):
            return ok("output", f"no table at {store.url} yet")
        table = DeltaTable(store.url, storage_options=store.delta_options)
    except (DeltaError, OSError) as error:
        return blocker("output", str(storage_error(store.url, error)), WRITTEN)
    return ok("output", f"a table at version {table.version()}; a run will continue it")


def check_space(output: str, size: int) -> Iterator[Finding]:
    """On a local disk the table needs at least the bytes of the images that are kept."""
    root = canonical(output)
    if "://" in root:
        return
    place = root
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    free = shutil.disk_usage(place).free
    text = f"{place} has {free / GB:.1f} GB free for a table of about {size / GB:.1f} GB or more"
    yield (
        ok("output", text) if free > size else warning("output", text, "free some of it, or choose another output")
    )
