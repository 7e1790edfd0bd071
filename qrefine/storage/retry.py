"""Retries of failed store requests, with growing waits."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from qrefine.storage.errors import transient

log = logging.getLogger(__name__)

RETRIES = 6  # 25 to 50 s of waits, besides the client libraries' own: time for a store to restart
FIRST_WAIT_S = 0.4
LONGEST_WAIT_S = 20.0

T = TypeVar("T")


def retrying(action: Callable[[], T], what: str, retries: int = RETRIES) -> T:
    """The action's result; tried again up to ``retries`` times where its error is transient.

    Raises the last error. The action must be idempotent.
    """
    failures = 0
    while True:
        try:
            return action()
        except Exception as error:  # the stores' own classes have no common parent
            failures += 1
            if failures > retries or not transient(error):
                raise
            pause(failures, what, error)


def pause(failures: int, what: str, error: Exception) -> None:
    """Wait longer after each failure in a row; random, so that clients that failed together spread out."""
    wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**failures) * random.uniform(0.5, 1)
    log.debug("%s failed (%s: %s); again in %.1f s", what, type(error).__name__, error, wait)
    time.sleep(wait)
