"""2. Against other tools: the same scoring job and the same refinement, as users would write them.

Every run is a separate process, and tools take turns. A rate counts the images by which a large run has more than
a small one, in which all processes come to work already: else the start of others would make the large run
look slow. The start-up is where the line through both meets no images. Before any rate is reported, outputs
of the last runs are compared: keys, statuses and scores must equal ours, or the benchmark fails.

All jobs take an hour on two cores; ``--job NAME`` takes one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.dataset as ds
import yaml

from benchmarks.corpus import write_corpus
from benchmarks.measure import Figure, command_seconds, say, take_turns
from benchmarks.options import Options
from benchmarks.runs import EXECUTORS, sleeping
from qrefine.config import RefineConfig
from qrefine.table.table import open_table

SHARDS = 8
ROUNDS = 3
SMALL = 4  # of the images, a small run has one in so many
PROCESSES = os.cpu_count() or 2
COLUMNS = ["key", "status", "quality_before", "quality_after"]
LEAST = 1e-3  # seconds that a run's images take, however its start-up varies
CLOSE = 1e-4  # of q: batches and threads may change the last bits


@dataclass(frozen=True)
class Job:
    """``samples`` per shard are half a minute's work for two cores; ``goals`` are ours over each peer."""

    config: RefineConfig
    samples: int
    goals: Mapping[str, str]
    command: str = "refine"


GOALS = {"ray_guide": "1.3", "loader": "0.98", "daft_script": "1"}
JOBS = {
    "scoring": Job(RefineConfig(stages=(), judges=()), 80, GOALS),
    "refining": Job(RefineConfig(judges=()), 24, GOALS),
    "models of 0 ms": Job(sleeping(0.0), 400, {**GOALS, "loader": "0.9"}),  # the pipelines alone
    "scores": Job(RefineConfig(judges=()), 40, {"pyiqa_loader": "3"}, "score"),  # the networks differ
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
    Peer("pyiqa_loader", ("pyiqa", "webdataset", "torch"), "QREFINE_BENCH_PYIQA"),  # it needs torchvision
)


def run(options: Options) -> list[Figure]:
    """Our images/s over each peer's: scoring (no stage runs), refining, refining with models of no time; and
    `qrefine score` over a script with the scorer that people use otherwise."""
    versions = {peer: version for peer in PEERS if (version := peer.version())}
    for peer in PEERS:
        if peer not in versions:
            say(f"{peer.name} is left out: {', '.join(peer.packages)} are not all in {peer.python}")
    return [figure for name in options.jobs or JOBS for figure in measured(name, versions, options)]


def measured(name: str, versions: Mapping[Peer, str], options: Options) -> list[Figure]:
    """The figures of one job: medians and extremes of the rounds."""
    job = JOBS[name]
    peers = [peer for peer in versions if peer.name in job.goals]
    if not peers:
        return []
    folder = options.folder / name.replace(" ", "-")
    folder.mkdir()
    settings = folder / "config.yaml"
    settings.write_text(yaml.safe_dump(job.config.digested()))
    corpora = {
        SHARDS * samples: write_corpus(
            folder / f"{samples}", shards=SHARDS, samples=samples, side=options.of(512, 96), needy=0.25,
            photos=options.photos,
        )
        for samples in (options.of(job.samples // SMALL, 1), options.of(job.samples, 2))
    }  # fmt: skip
    few, many = corpora
    candidates = _runs(job.command, peers, settings, corpora, folder)
    turns = take_turns(candidates, few, many, options.of(ROUNDS, 1))
    small = {tool: median(turn.small for turn in its) for tool, its in turns.items()}
    rates = {
        tool: [(many - few) / max(turn.large - small[tool], LEAST) for turn in its] for tool, its in turns.items()
    }
    start = {tool: [turn.small - few / median(rates[tool]) for turn in its] for tool, its in turns.items()}
    figures = []
    for executor in EXECUTORS:
        ours = f"qrefine, {executor}"
        for peer in peers:
            _compare(peer.name, _rows(folder / ours), _rows(folder / peer.name))
            ratios = [a / b for a, b in zip(rates[ours], rates[peer.name], strict=True)]
            note = f"{_spread(ratios)}; {median(rates[ours]):.2f} and {median(rates[peer.name]):.2f} images/s"
            figures.append(
                Figure(
                    f"{name}: {ours} / {peer.name}", median(ratios), "x", job.goals[peer.name],
                    f"{note}; {versions[peer]}",
                )
            )  # fmt: skip
    figures += [
        Figure(f"{name}: start-up, {tool}", max(median(its), LEAST), "s", "", _spread(its))
        for tool, its in start.items()
    ]
    return figures


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


def _runs(
    command: str, peers: Sequence[Peer], settings: Path, corpora: Mapping[int, Sequence[str]], folder: Path
) -> dict[str, Callable[[int], object]]:
    """By tool, a function that processes the given number of images into an empty folder."""

    def ours(executor: str) -> Callable[[int], object]:
        def work(count: int) -> None:
            out = str(_emptied(folder / f"qrefine, {executor}"))
            options = ["-c", str(settings), "--set", f"stream.executor={executor}"]
            command_seconds([sys.executable, "-m", "qrefine.cli", command, *corpora[count], out, *options])

        return work

    def theirs(peer: Peer) -> Callable[[int], object]:
        def work(count: int) -> None:
            out = str(_emptied(folder / peer.name))
            arguments = [peer.name, str(settings), out, str(PROCESSES), *corpora[count]]
            command_seconds([peer.python, "-m", "benchmarks.peers", *arguments])

        return work

    return {
        **{f"qrefine, {executor}": ours(executor) for executor in EXECUTORS},
        **{peer.name: theirs(peer) for peer in peers},
    }


def _rows(folder: Path) -> pa.Table:
    """What a run wrote, of the columns that are compared those that are there."""
    if (folder / "_delta_log").exists():
        return open_table(str(folder)).to_pyarrow_table(columns=COLUMNS)
    rows = ds.dataset(folder)
    return rows.to_table(columns=[name for name in COLUMNS if name in rows.schema.names])


def _compare(name: str, ours: pa.Table, theirs: pa.Table) -> None:
    """Raises RuntimeError unless theirs has our samples, and the same statuses and scores where it has any."""
    columns = theirs.column_names
    ours, theirs = (table.select(columns).sort_by("key").to_pylist() for table in (ours, theirs))
    if [(row["key"], row.get("status")) for row in ours] != [(row["key"], row.get("status")) for row in theirs]:
        raise RuntimeError(f"{name}: other keys or statuses than qrefine's")
    for a, b in zip(ours, theirs, strict=True):
        if any(abs(a[column] - b[column]) > CLOSE for column in columns if column.startswith("quality")):
            raise RuntimeError(f"{name}: other scores of {a['key']} than qrefine's")


def _emptied(folder: Path) -> Path:
    """The folder; an existing one is renamed, since deleting it would be measured too."""
    if folder.exists():
        number = sum(1 for _ in folder.parent.glob(f"{folder.name}.*"))
        folder.rename(folder.with_name(f"{folder.name}.{number}"))
    return folder
