"""One writer to a table at a time.

The lease is a chain of objects ``_qrefine/lease-<generation>.json``; whoever created the highest generation
holds it. Objects are created only where none is (``O_EXCL`` on disk, ``If-None-Match: *`` on object stores),
so of two runs that see a dead holder exactly one takes over. The holder renews its object. A holder that has
not renewed for EXPIRY_S is dead, and so is one on this machine whose process is gone.

The lease keeps two runs from doing the same work; the table is correct without it. A holder that was paused
beyond the expiry, or whose clock is wrong, finds before its commit that it lost the lease. If it is paused
between that check and the commit, Delta's log refuses the commit once another of ours came (`Table.commit`).
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from types import TracebackType

from typing_extensions import Self

from qrefine.errors import TableBusyError, UserError
from qrefine.storage.errors import lost_store, storage_error
from qrefine.storage.store import Store

log = logging.getLogger(__name__)

FOLDER = "_qrefine"  # readers of Delta and Hive tables ignore names that begin with an underscore
EXPIRY_S = 60.0
RENEW_S = 10.0


def new_run() -> str:
    """A new run id; ids sort by creation time, to the second."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True)
class Holder:
    """What a lease object says: who, where, since when, and when it was last renewed (Unix seconds)."""

    run: str
    host: str
    pid: int
    since: float
    renewed: float
    released: bool = False

    def dead(self, now: float) -> bool:
        if self.released or now - self.renewed > EXPIRY_S:
            return True
        return self.host == socket.gethostname() and not _alive(self.pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _name(generation: int) -> str:
    return f"lease-{generation:08d}.json"


class Lease:
    """Holds a table's lease, as a context manager; raises TableBusyError where another live run holds it.

    ``after_death``: the run before this one ended without giving its lease back; it was killed, or died.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store.join(FOLDER)
        self._root = store.url
        now = time.time()
        self._holder = Holder(run, socket.gethostname(), os.getpid(), now, now)
        self._generation = 0
        self.after_death = False
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew_for_ever, name="qrefine-lease", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._store.make_folder()
            self._acquire()
        except UserError:
            raise
        except Exception as error:  # not all of the stores' classes are OSErrors
            raise storage_error(self._root, error) from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            if self.held():
                self._write(replace(self._holder, renewed=time.time(), released=True))
        except Exception:  # the work is done, and a lease that is not released expires
            log.warning("the lease of %s could not be given back", self._root, exc_info=True)

    def held(self) -> bool:
        """Whether this run still holds the lease; asks the store. Raises UserError where that fails."""
        try:
            if not self._lost.is_set() and self._highest() > self._generation:
                self._lost.set()
        except Exception as error:  # not all of the stores' classes are OSErrors
            raise lost_store(self._root, error) from error
        return not self._lost.is_set()

    def check(self) -> None:
        """Raises TableBusyError where another run took the table over."""
        if not self.held():
            raise TableBusyError(
                f"{self._root}: another run took the table over while this one was paused; it goes on there"
            )

    def _acquire(self) -> None:
        while True:
            generation = self._highest()
            holder = self._read(generation) if generation else None
            if holder is not None and not holder.dead(time.time()):
                since = datetime.fromtimestamp(holder.since, timezone.utc).isoformat(" ", "seconds")
                raise TableBusyError(
                    f"{self._root} is in use by run {holder.run} on {holder.host} (process {holder.pid})"
                    f" since {since}; wait for it, or stop it: its lease ends {EXPIRY_S:.0f} s later"
                )
            try:
                self._store.create(_name(generation + 1), self._bytes(self._holder))
            except FileExistsError:
                continue  # another run was faster: see which
            self._generation = generation + 1
            if self._highest() > self._generation:
                # this run was slow: others held the lease, and removed the object that would have refused it
                self._store.remove(_name(self._generation))
                continue
            self.after_death = holder is not None and not holder.released
            self._remove_older()
            return

    def _remove_older(self) -> None:
        for generation in self._generations():
            if generation < self._generation:
                try:
                    self._store.remove(_name(generation))
                except OSError:
                    log.debug("an old lease object stays", exc_info=True)

    def _renew_for_ever(self) -> None:
        while not self._stop.wait(RENEW_S):
            try:
                if not self.held():
                    return
                self._write(replace(self._holder, renewed=time.time()))
            except Exception:  # the next renewal may succeed; if none does, the lease expires
                log.warning("the lease of %s could not be renewed", self._root, exc_info=True)

    def _generations(self) -> list[int]:
        names = self._store.names()
        return [int(name[6:-5]) for name in names if name.startswith("lease-") and name[6:-5].isdigit()]

    def _highest(self) -> int:
        return max(self._generations(), default=0)

    def _read(self, generation: int) -> Holder | None:
        """The holder; None where the object is gone or not a lease."""
        try:
            return Holder(**json.loads(self._store.read(_name(generation))))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _write(self, holder: Holder) -> None:
        self._store.write(_name(self._generation), self._bytes(holder))

    @staticmethod
    def _bytes(holder: Holder) -> bytes:
        return json.dumps(asdict(holder)).encode()
