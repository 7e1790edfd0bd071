"""Jobs as Ray tasks, as a night's merges are."""

from __future__ import annotations

from functools import partial

import pytest

from qrefine.config import load_config
from qrefine.errors import BrokenRunError
from qrefine.stream.executor import RayExecutor
from tests.support import PLAIN

pytestmark = pytest.mark.usefixtures("cluster")


def power(exponent: int, base: int) -> int:
    return int(base**exponent)


def fail(number: int) -> int:
    raise OSError(f"job {number} cannot be done")


def test_each_job_gives_its_result_once() -> None:
    with RayExecutor(load_config(None, PLAIN)) as executor:
        found = [result for some in executor.each(partial(power, 2), iter(range(9))) for result in some]
        assert sorted(found) == [number**2 for number in range(9)]
        assert list(executor.each(partial(power, 2), [])) == []


def test_a_job_that_fails_for_good_ends_the_run() -> None:
    with (
        RayExecutor(load_config(None, PLAIN)) as executor,
        pytest.raises(BrokenRunError, match="job 1 cannot be done; run it again"),
    ):
        list(executor.each(fail, [1]))
