"""Runs the stages on drawn samples and notes for each what it needed, what became of it, and how long it took.

The unit of work is what a run is paid in: seconds of one actor. With a GPU that is wall time, since one actor
holds one GPU; without, it is CPU time, which other processes on the machine do not lengthen.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa

from qrefine.config import RefineConfig, sample_seed
from qrefine.corpus.images import ImageError, decode, encode, icc_profile
from qrefine.corpus.shards import RawSample
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.sample import Sample, Stage, guarded
from qrefine.storage.store import Store
from qrefine.stream.blocks import EMPTY
from qrefine.stream.write import ROWS_AT_ONCE
from qrefine.table.parts import write_part
from qrefine.table.schema import Outcome, make_row, table_schema


@dataclass
class Measured:
    """One drawn sample: seconds by stage (``decode`` and ``encode`` among them), status, bytes of its image."""

    stratum: int
    status: str = "failed"
    needed: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_out: int = 0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Measurement:
    """What was measured: the samples, the stages' names, bytes of a row beside its image.

    ``load_seconds``: wall time until a new actor can work: a process, its imports, its models.
    """

    samples: tuple[Measured, ...]
    stages: tuple[str, ...]
    load_seconds: float
    row_bytes: float
    gpu: str | None  # its name; None: seconds are CPU time


def measure(
    drawn: Sequence[Sequence[RawSample]], config: RefineConfig, notify: Callable[[int], None] = lambda count: None
) -> Measurement:
    """Run all drawn samples, given by stratum, through the stages; ``notify`` hears of each batch's size.

    The first batch runs once before the clock starts: kernels compile, libraries load. Raises UserError where a
    model cannot be loaded.
    """
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as an actor's
    clock = Clock(gpu)
    try:
        started = time.perf_counter()
        stages = build_stages(MODEL_STAGES, config)
        load_seconds = time.perf_counter() - started + _start_seconds()
        todo = [(Measured(stratum), raw) for stratum, samples in enumerate(drawn) for raw in samples]
        batches = [todo[k : k + config.stream.batch_size] for k in range(0, len(todo), config.stream.batch_size)]
        rows: list[dict[str, object]] = []
        for number, batch in enumerate(batches):
            if number == 0:
                _run([(Measured(0), raw) for _, raw in batch], stages, config, clock)
            rows += _run(batch, stages, config, clock)
            notify(len(batch))
    finally:
        torch.set_num_threads(threads)
    measured = tuple(one for one, _ in todo)
    names = tuple(type(stage).__name__.lower() for stage in stages)
    if config.mode == "fused":  # its noise comes with the inpainter's
        names = tuple(name for name in names if name != "noise")
    return Measurement(measured, names, load_seconds, _row_bytes(rows[: config.stream.part_rows], config), gpu)


def _start_seconds() -> float:
    """Seconds that a new process takes until it has imported what an actor needs."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import qrefine.stream.pools, torch"], check=False, capture_output=True)
    return time.perf_counter() - started


class Clock:
    """Seconds of an actor: wall time where there is a GPU, else this process's CPU time."""

    def __init__(self, gpu: str | None) -> None:
        self._gpu = gpu

    @contextmanager
    def share(self, stage: str, members: Sequence[tuple[Measured, int]]) -> Iterator[None]:
        """Add the seconds of the block to the members, in proportion to their pixels."""
        started = self._now()
        yield
        seconds = self._now() - started
        pixels = sum(weight for _, weight in members)
        for one, weight in members:
            one.seconds[stage] = one.seconds.get(stage, 0.0) + seconds * weight / max(1, pixels)

    def _now(self) -> float:
        if self._gpu is None:
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()


def _run(
    batch: Sequence[tuple[Measured, RawSample]], stages: Sequence[Stage], config: RefineConfig, clock: Clock
) -> list[dict[str, object]]:
    """One batch through decoding, all stages and encoding, as an actor does it; gives its table rows."""
    samples = []
    for one, raw in batch:
        with clock.share("decode", [(one, 1)]):
            samples.append(_decoded(raw, config))
    for stage in stages:
        name = type(stage).__name__.lower()
        wanting = [k for k, s in enumerate(samples) if s.error is None and stage.wants(s)]
        for k in wanting:
            batch[k][0].needed.add(name)
        with clock.share(name, [(batch[k][0], samples[k].image[..., 0].size) for k in wanting]):
            samples = guarded(stage, samples)
    return [_finish(one, raw, s, config, clock) for (one, raw), s in zip(batch, samples, strict=True)]


def _decoded(raw: RawSample, config: RefineConfig) -> Sample:
    sample = Sample(EMPTY, raw.prompt or "", sample_seed(raw.key, config.seed), error=raw.error)
    if raw.error is not None or raw.image is None:
        return sample
    try:
        image = decode(raw.image, config.images)
    except ImageError as error:
        return Sample(EMPTY, error=str(error))
    return Sample(image, sample.prompt, sample.seed)


def _finish(
    one: Measured, raw: RawSample, sample: Sample, config: RefineConfig, clock: Clock
) -> dict[str, object]:
    data = None
    if sample.error is None and sample.refined is not None and raw.image is not None:
        with clock.share("encode", [(one, 1)]):
            data = encode(sample.refined, config.images, icc_profile(raw.image))
    size = None if sample.error else (sample.image.shape[0], sample.image.shape[1])
    outcome = Outcome(size, sample.before, sample.after, data, sample.stages, sample.judgements, sample.error)
    row = make_row(raw, outcome, config, "plan")
    one.status = str(row["status"])
    if one.status != "failed":
        one.bytes_out = len(data if data is not None else raw.image or b"")
    return row


def _row_bytes(rows: Sequence[dict[str, object]], config: RefineConfig) -> float:
    """Bytes that a row takes beside its image: maps, scores, text, and its share of the part's own."""
    if not rows:
        return 0.0
    alike = [{**row, "image": None, "shard": "one", "index": index} for index, row in enumerate(rows)]
    table = pa.Table.from_pylist(alike, schema=table_schema(config.judges))
    groups = [table.slice(start, ROWS_AT_ONCE) for start in range(0, table.num_rows, ROWS_AT_ONCE)]
    store = Store("memory://qrefine-plan")
    record = write_part(store, groups, "plan")
    store.remove(record.path)
    return record.size / len(rows)
