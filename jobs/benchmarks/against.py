"""2. Against other tools: the same scoring job and the same refinement, as users would write them.

Every run is a separate process, and its start-up is subtracted. Before any rate is reported, the outputs of the
last runs are compared: keys, statuses and scores must equal ours, or the benchmark fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import yaml

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, marginal_rates, say
from benchmarks.options import Options
from benchmarks.runs import sleeping
from qrefine.config import RefineConfig
from qrefine.table.table import open_table

SHARDS = 8
PROCESSES = os.cpu_count() or 2
COLUMNS = ["key", "status", "quality_before", "quality_after"]
CLOSE = 1e-4  # of q: batches and threads may change the last bits
# settings, images per shard (enough that the difference of two runs is seconds), goal
JOBS = {
    "scoring": (RefineConfig(stages=(), judges=()), 32, "1.5"),
    "refining": (RefineConfig(judges=()), 16, "1.3"),
    "models of 0 ms": (sleeping(0.0), 128, "1"),  # the pipelines alone
}


@dataclass(frozen=True)
class Peer:
    """A script in ``peers/``; the variable may name another Python that has its packages."""

    name: str
    packages: tuple[str, ...]
    variable: str = ""

    @property
    def python(self) -> str:
        return os.environ.get(self.variable, sys.executable)

    def version(self) -> str | None:
        """Its packages and their versions; None where one is missing."""
        code = (
            f"from importlib.metadata import version; print(*(f'{{p}} {{version(p)}}' for p in {self.packages}))"
        )
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None


PEERS = (
    Peer("ray_guide", ("ray", "pyarrow")),
    Peer("loader", ("webdataset", "torch", "pyarrow")),
    Peer("daft_script", ("daft", "pyarrow"), "QREFINE_BENCH_DAFT"),  # it needs an older pyarrow than ours
)


def run(options: Options) -> list[Figure]:
    """Our images/s over each peer's: scoring (no stage runs), refining, refining with models of no time."""
    versions = {peer: version for peer in PEERS if (version := peer.version())}
    for peer in PEERS:
        if peer not in versions:
            say(f"{peer.name} is left out: {', '.join(peer.packages)} are not all in {peer.python}")
    figures = []
    for job, (config, full, goal) in JOBS.items():
        folder = options.folder / job.replace(" ", "-")
        folder.mkdir()
        settings = folder / "config.yaml"
        settings.write_text(yaml.safe_dump(config.digested()))
        corpora = {
            shards * samples: write_corpus(
                folder / f"{samples}", shards=shards, samples=samples, side=options.of(512, 96), needy=0.25,
                photos=options.photos,
            )
            # one image per process for the start-up; then the size that is measured
            for shards, samples in ((PROCESSES, 1), (SHARDS, options.of(full, 2)))
        }  # fmt: skip
        few, many = corpora
        rates = marginal_rates(_runs(list(versions), settings, corpora, folder), few, many, rounds=1)
        ours = open_table(str(folder / "qrefine")).to_pyarrow_table(columns=COLUMNS)
        for peer in versions:
            _compare(peer.name, ours, ds.dataset(folder / peer.name).to_table(columns=COLUMNS))
        best = max(rate for name, rate in rates.items() if name != "qrefine")
        figures.append(Figure(f"{job}: qrefine / the best of the others", rates["qrefine"] / best, "x", goal))
        figures += [
            Figure(
                f"{job}: qrefine / {peer.name}", rates["qrefine"] / rates[peer.name], "x", "1",
                f"{rates['qrefine']:.2f} and {rates[peer.name]:.2f} images/s; {version}",
            )
            for peer, version in versions.items()
        ]  # fmt: skip
    return figures


def _runs(
    peers: Sequence[Peer], settings: Path, corpora: Mapping[int, Sequence[str]], folder: Path
) -> dict[str, Callable[[int], object]]:
    """By tool, a function that processes the given number of images into an empty folder."""

    def ours(count: int) -> None:
        arguments = ["refine", *corpora[count], str(_emptied(folder / "qrefine")), "-c", str(settings)]
        _process([sys.executable, "-m", "qrefine.cli", *arguments])

    def theirs(peer: Peer) -> Callable[[int], object]:
        def work(count: int) -> None:
            out = str(_emptied(folder / peer.name))
            arguments = [peer.name, str(settings), out, str(PROCESSES), *corpora[count]]
            _process([peer.python, "-m", "benchmarks.peers", *arguments])

        return work

    return {"qrefine": ours, **{peer.name: theirs(peer) for peer in peers}}


def _compare(name: str, ours: pa.Table, theirs: pa.Table) -> None:
    """Raises RuntimeError unless both tables have the same samples, statuses and scores."""
    ours, theirs = (table.select(COLUMNS).sort_by("key").to_pylist() for table in (ours, theirs))
    if [(row["key"], row["status"]) for row in ours] != [(row["key"], row["status"]) for row in theirs]:
        raise RuntimeError(f"{name}: other keys or statuses than qrefine's")
    for a, b in zip(ours, theirs, strict=True):
        if any(abs(a[column] - b[column]) > CLOSE for column in COLUMNS[2:]):
            raise RuntimeError(f"{name}: other scores of {a['key']} than qrefine's")


def _process(command: Sequence[str]) -> None:
    path = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} ended with {done.returncode}: {done.stderr[-2000:]}")


def _emptied(folder: Path) -> Path:
    """The folder; an existing one is renamed, since deleting it would be measured too."""
    if folder.exists():
        number = sum(1 for _ in folder.parent.glob(f"{folder.name}.*"))
        folder.rename(folder.with_name(f"{folder.name}.{number}"))
    return folder
