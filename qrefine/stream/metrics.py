"""What operators see: the names of all metrics in one place, recorded through Ray.

Ray's agent on each node exports them for Prometheus: ``ray_`` stands before each name, ``_total`` behind a
counter. Where a share or a mean is wanted there are two counters to divide: a counter is exact over any window,
survives the process that kept it, and does not go stale while a pool starves. Queue lengths, spilled bytes and
the GPUs' own utilisation are Ray's to tell (`FROM_RAY`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from ray.util.metrics import Counter, Gauge


@dataclass(frozen=True)
class Metric:
    """A metric's name, kind, tags beside ``run``, and what it says."""

    name: str
    kind: Literal["counter", "gauge"]
    tags: tuple[str, ...]
    says: str

    @property
    def recorded(self) -> str:
        """The name in Ray's words."""
        return f"qrefine_{self.name}"

    @property
    def exported(self) -> str:
        """The name that Prometheus scrapes."""
        return f"ray_{self.recorded}" + ("_total" if self.kind == "counter" else "")


METRICS = {
    metric.name: metric
    for metric in (
        # of the driver: what is committed, so that sums agree with the table
        Metric("samples", "counter", ("status",), "rows committed: refined, kept or failed"),
        Metric("committed_bytes", "counter", (), "bytes of the parts committed"),
        Metric("commits", "counter", (), "commits to the table's log"),
        Metric("commit_seconds", "counter", (), "seconds spent in commits"),
        Metric("retried_samples", "counter", (), "rows done again, one by one, after a process died"),
        Metric("images_per_second", "gauge", (), "rows committed per second since the run began"),
        Metric("shards", "gauge", ("state",), "shards of the input: total, and done in the table"),
        # of the workers: what was done, committed or not
        Metric("read_bytes", "counter", (), "encoded bytes of the images read from shards"),
        Metric("written_bytes", "counter", (), "bytes of the parts written"),
        Metric("stage_seconds", "counter", ("stage",), "seconds in a stage's calls"),
        Metric("stage_samples", "counter", ("stage",), "samples that a stage worked on"),
        Metric("batch_samples", "counter", ("pool",), "samples in the batches of a pool"),
        Metric("batch_slots", "counter", ("pool",), "samples that these batches had room for"),
        Metric("busy_seconds", "counter", ("pool", "device"), "seconds of actors in their stages"),
        Metric("idle_seconds", "counter", ("pool", "device"), "seconds of actors between: no GPU at work"),
    )
}
FROM_RAY = {
    "ray_data_operator_queued_blocks": "blocks that wait before each operator of the stream",
    "ray_spill_manager_objects_bytes": "with State=Spilled: bytes that the object store moved to disk",
    "ray_tasks": "with IsRetry=1: tasks that Ray ran again after a process or a node died",
    "ray_node_gpus_utilization": "utilisation of each GPU, as its driver tells",
}


@dataclass(frozen=True)
class Meter:
    """Records metrics of one run, from any process of it; without Ray it records nothing."""

    run: str

    def add(self, name: str, value: float = 1.0, **tags: str) -> None:
        """Count on; nothing is counted where the value is 0."""
        if value > 0:
            _counter(name).inc(value, {"run": self.run, **tags})

    def set(self, name: str, value: float, **tags: str) -> None:
        _gauge(name).set(value, {"run": self.run, **tags})


@cache
def _counter(name: str) -> Counter:
    metric = METRICS[name]
    return Counter(metric.recorded, metric.says, ("run", *metric.tags))


@cache
def _gauge(name: str) -> Gauge:
    metric = METRICS[name]
    return Gauge(metric.recorded, metric.says, ("run", *metric.tags))
