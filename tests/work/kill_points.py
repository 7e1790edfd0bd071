"""Kill a run at many points and count what is lost or repeated: ``python -m tests.work.kill_points [POINTS]``.

Half of the points are lines of the commit protocol, spread evenly over a run from its first to its last; the
others lie at random moments of a commit to the log. About half of the resumes are killed once more, at random.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qrefine.config import ImageSettings
from qrefine.corpus.images import decode
from qrefine.table.parts import PREFIX
from qrefine.table.table import open_table
from tests.support import encoded, photo, write_tar
from tests.work import runs

SHARDS, SAMPLES = 3, 7
SLOWEST_COMMIT_S = 0.012


@dataclass(frozen=True)
class Count:
    """What the loop found; from ``lost`` on all must be 0."""

    points: int
    killed: int  # processes, those of resumes among them
    repeated: int  # samples that were processed and not committed when their process was killed
    most_repeated: int  # by one kill
    lost: int
    twice: int
    wrong: int  # samples whose image or status is not an undisturbed run's
    unopened: int  # tables that could not be read after a kill
    leftovers: int  # parts that lie there after the last run and that no version names


def write_corpus(folder: Path) -> None:
    """Shards of tiny images, some of them dark, which the stub refines, and one broken."""
    folder.mkdir()
    for shard in range(SHARDS):
        members = []
        for index in range(SAMPLES):
            dark = photo(("astronaut", "coffee", "rocket")[index % 3], 16)
            image = dark if index % 2 else 255 - dark // 8
            data = b"no image" if (shard, index) == (1, 3) else encoded(image)
            members.append((f"{shard}{index}.png", data))
        write_tar(folder / f"{shard}.tar", members)


Found = dict[tuple[str, int], tuple[str, bytes]]


def read(table: Path | str) -> tuple[Found, int]:
    """Status and pixels of each sample, and how many rows there are beyond one for each."""
    columns = ["shard", "index", "status", "image"]
    rows = open_table(str(table)).to_pyarrow_table(columns=columns).to_pylist()
    found: Found = {}
    for row in rows:
        image = row["image"] and decode(row["image"]["bytes"], ImageSettings())
        pixels = b"" if image is None else np.asarray(image).tobytes()
        found[Path(row["shard"]).name, row["index"]] = (row["status"], pixels)
    return found, len(rows) - len(found)


def unnamed(table: Path) -> int:
    """Parts on disk that no version of the table names."""
    delta = open_table(str(table))
    known = set(delta.vacuum(0, dry_run=True, enforce_retention_duration=False))
    known |= {Path(uri).name for uri in delta.file_uris()}
    return len({path.name for path in table.glob(f"{PREFIX}*")} - known)


def kill_points(points: int, folder: Path, seed: int = 0) -> Count:
    """Run the loop in an empty folder."""
    rng = random.Random(seed)
    corpus = folder / "corpus"
    write_corpus(corpus)
    arguments = [str(corpus), str(folder / "reference")]
    assert runs.finish(arguments, runs.die_at_line, 0, str(folder / "lines")) == 0
    lines = int((folder / "lines").read_text())
    expected, _ = read(folder / "reference")
    assert len(expected) == SHARDS * SAMPLES
    assert Counter(status for status, _ in expected.values()).keys() == {"refined", "kept", "failed"}
    sums: Counter[str] = Counter()
    most = 0
    for point in range(points):
        table = folder / f"table-{point}"
        arguments = [str(corpus), str(table)]
        tally = folder / f"tally-{point}"
        if point % 2:
            moment = (1 + point // 2 % 4, rng.uniform(0, SLOWEST_COMMIT_S))
            code = runs.finish(arguments, runs.die_in_commit, *moment, tally=tally)
        else:
            code = runs.finish(arguments, runs.die_at_line, 1 + lines * point // points, tally=tally)
        repeated = 0
        while code == -signal.SIGKILL:
            sums["killed"] += 1
            there = committed(table)
            sums["unopened"] += there is None
            processed = tally.stat().st_size if tally.exists() else 0
            cost = processed - repeated - (there or 0)
            repeated, most = repeated + cost, max(most, cost)
            again = rng.random() < 0.5
            line = rng.randrange(1, lines) if again else 0
            code = runs.finish(arguments, runs.die_at_line, line, tally=tally)
        sums["repeated"] += repeated
        assert code == 0, f"point {point}: exit code {code}"
        found, twice = read(table)
        sums["twice"] += twice
        sums["lost"] += len(expected.keys() - found.keys())
        sums["wrong"] += sum(found[place] != expected[place] for place in expected.keys() & found.keys())
        sums["leftovers"] += unnamed(table)
    names = ("killed", "repeated", "lost", "twice", "wrong", "unopened", "leftovers")
    return Count(points, most_repeated=most, **{name: sums[name] for name in names})


def committed(table: Path) -> int | None:
    """Rows that a killed run left, 0 where there is no table yet; None if it cannot be read or holds one twice."""
    if not list(table.glob("_delta_log/*.json")):
        return 0
    try:
        found, twice = read(table)
    except Exception as error:  # whatever it is, the table does not open
        print(f"{table}: {error}", file=sys.stderr)
        return None
    return None if twice else len(found)


if __name__ == "__main__":
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        count = kill_points(int(sys.argv[1]) if len(sys.argv) > 1 else 200, Path(scratch))
    print(f"{count} in {time.monotonic() - started:.0f} s")
    mean = count.repeated / count.killed
    print(f"a kill repeats {mean:.1f} of {SHARDS * SAMPLES} samples, at most {count.most_repeated}; parts have 4")
    bad = (count.lost, count.twice, count.wrong, count.unopened, count.leftovers)
    sys.exit(any(bad))
