"""Runs the stages on drawn samples and records the stages that each needed, its status, and the seconds.

The unit of work is what a run costs: seconds of one actor. With a GPU that is wall time, since one actor
holds one GPU; without, it is CPU time, which does not depend on other processes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from qrefine.config import RefineConfig
from qrefine.sample import Sample
from qrefine.stages.enhance import Enhance
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.refiner import MODEL_STAGES, build_stages
from qrefine.stages.stage import Stage, Step, stage_name
from qrefine.storage.store import Store
from qrefine.table.parts import write_part
from qrefine.table.schema import make_row, stored_image, table_schema
from qrefine.work.process import process
from qrefine.work.write import ROWS_AT_ONCE, encoded


@dataclass
class Measured:
    """One drawn sample: seconds by stage (``decode`` and ``encode`` among them), status, bytes of its image.

    ``fed``: pixels that the models of the stages were given, where they work on crops.
    """

    stratum: int
    status: str = "failed"
    needed: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_out: int = 0
    before: float | None = None  # q before and after; None where it failed before it was scored
    after: float | None = None
    fed: dict[str, int] = field(default_factory=dict)

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
    drawn: Sequence[Sequence[Sample]], config: RefineConfig, notify: Callable[[int], None] = lambda count: None
) -> Measurement:
    """Run all drawn samples, given by stratum, through the stages; ``notify`` is called with each batch's size.

    The first batch runs once before the clock starts: kernels compile, libraries load. Raises UserError where a
    model cannot be loaded.
    """
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as an actor's
    try:
        started = time.perf_counter()
        stages = build_stages(MODEL_STAGES, config)
        load_seconds = time.perf_counter() - started + _start_seconds()
        todo = [(Measured(stratum), sample) for stratum, samples in enumerate(drawn) for sample in samples]
        batches = [todo[k : k + config.stream.batch_size] for k in range(0, len(todo), config.stream.batch_size)]
        done: list[Sample] = []
        for number, batch in enumerate(batches):
            if number == 0:
                _run([(Measured(0), sample) for _, sample in batch], stages, config, gpu)
            done += _run(batch, stages, config, gpu)
            notify(len(batch))
    finally:
        torch.set_num_threads(threads)
    names = tuple(stage_name(stage) for stage in stages)
    if config.mode == "fused":  # inpainting adds the noise itself
        names = tuple(name for name in names if name != "noise")
    row_bytes = _row_bytes(done[: config.stream.part_rows], config)
    return Measurement(tuple(one for one, _ in todo), names, load_seconds, row_bytes, gpu)


def _start_seconds() -> float:
    """Seconds that a new process takes until it has imported what an actor needs."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import qrefine.stream.pools, torch"], check=False, capture_output=True)
    return time.perf_counter() - started


def _clock(gpu: str | None) -> Callable[[], float]:
    """Seconds of an actor: wall time where there is a GPU, else this process's CPU time."""
    if gpu is None:
        return time.process_time

    def wall() -> float:
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    return wall


def _run(
    batch: Sequence[tuple[Measured, Sample]], stages: Sequence[Stage], config: RefineConfig, gpu: str | None
) -> list[Sample]:
    """One batch through decoding, all stages and encoding, as an actor does it; samples share each step's time."""
    of = {(sample.shard, sample.index): measured for measured, sample in batch}
    clock = _clock(gpu)
    counts = {stage_name(stage): stage.fed for stage in stages if isinstance(stage, (Inpaint, Enhance))}

    def watch(step: Step) -> None:
        """Add the seconds to the samples, in proportion to their pixels."""
        pixels = [float(np.prod(sample.size or (1, 1))) for sample in step.samples]
        for sample, share in zip(step.samples, pixels, strict=True):
            one = of[sample.shard, sample.index]
            one.seconds[step.stage] = one.seconds.get(step.stage, 0.0) + step.seconds * share / sum(pixels)
            if step.stage != "decode":
                one.needed.add(step.stage)
            if step.stage in counts and sample.before is not None:
                one.fed[step.stage] = counts[step.stage](sample)

    done = []
    for sample in process([sample for _, sample in batch], stages, config, watch, clock):
        one, began = of[sample.shard, sample.index], clock()
        finished = encoded(sample, config)
        if finished.output is not None:
            one.seconds["encode"] = clock() - began
        one.status = finished.status
        if finished.before is not None:
            one.before, one.after = finished.before.score, (finished.after or finished.before).score
        one.bytes_out = len(stored_image(finished, config) or b"")
        done.append(replace(finished, decoded=None, refined=None))
    return done


def _row_bytes(samples: Sequence[Sample], config: RefineConfig) -> float:
    """Bytes of a row without its image: maps, scores, text, and its share of the part's overhead."""
    if not samples:
        return 0.0
    alike = [replace(sample, shard="one", index=index) for index, sample in enumerate(samples)]
    rows = [{**make_row(sample, config, "plan"), "image": None} for sample in alike]
    table = pa.Table.from_pylist(rows, schema=table_schema(config.judges))
    groups = [table.slice(start, ROWS_AT_ONCE) for start in range(0, table.num_rows, ROWS_AT_ONCE)]
    store = Store.at("memory://qrefine-plan")
    record = write_part(store, groups, "plan")
    store.remove(record.path)
    return record.size / len(rows)
