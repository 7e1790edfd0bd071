"""What a kill costs with the default settings: ``python -m tests.work.repeated [RUNS]``.

Runs whose mapper sleeps are killed at random moments of their first minute. What they processed and did not commit
the next run does again. ARCHITECTURE.md says how much that may be: what came since the last commit, each writer's
open part, and the batches under way; in a young run both times are ``stream.commit_seconds``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from qrefine.config import StreamSettings
from tests.support import encoded, photo, write_tar
from tests.work import runs
from tests.work.kill_points import read

WORKERS, SECONDS = 2, 0.05  # per image of a worker
RATE = WORKERS / SECONDS  # images per second
FROM, TO = 12.0, 70.0  # seconds after the start
SHARDS, SAMPLES = 2, 2000  # more than a run does until then
SETTINGS = (
    "stream.executor=local",
    f"stream.workers={WORKERS}",
    "mapper.name=benchmarks.stubs:SleepingMapper",
    f'mapper.options={{"seconds": {SECONDS}}}',
    "stages=[]",
    "judges=[]",
)
UNDER_WAY = (2 * WORKERS + 1) * StreamSettings().batch_size  # in threads, done and not yet written
MOST = 2 * StreamSettings().commit_seconds * RATE + UNDER_WAY


@dataclass(frozen=True)
class Kill:
    processed: int
    committed: int

    @property
    def repeated(self) -> int:
        return self.processed - self.committed


def kills(count: int, folder: Path, seed: int = 0) -> list[Kill]:
    """Runs at the same time, which cost little: their models sleep."""
    rng = random.Random(seed)
    corpus = folder / "corpus"
    corpus.mkdir()
    data = encoded(photo("astronaut", 16))
    for shard in range(SHARDS):
        write_tar(corpus / f"{shard}.tar", [(f"{shard}{index:06d}.png", data) for index in range(SAMPLES)])
    started = []
    for number in range(count):
        table, tally = folder / f"table-{number}", folder / f"tally-{number}"
        process = runs.start([str(corpus), str(table)], settings=SETTINGS, tally=tally)
        started.append((time.monotonic() + rng.uniform(FROM, TO), process, table, tally))
    found = []
    for moment, process, table, tally in sorted(started, key=lambda one: one[0]):
        time.sleep(max(0.0, moment - time.monotonic()))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        rows, twice = read(table)
        assert not twice
        found.append(Kill(tally.stat().st_size, len(rows)))
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        done = kills(int(sys.argv[1]) if len(sys.argv) > 1 else 8, Path(scratch))
    for kill in done:
        again = f"{kill.repeated / RATE:.1f} s of work repeated"
        print(f"{kill.processed} processed, {kill.committed} committed, {again}")
    cost = [kill.repeated / RATE for kill in done]
    print(f"mean {sum(cost) / len(cost):.1f} s, most {max(cost):.1f} s; {MOST / RATE:.1f} s are allowed")
    sys.exit(max(cost) > MOST / RATE)
