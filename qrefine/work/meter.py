"""All metrics for operators, and the interface that records them.

Exported names begin with ``ray_``; counters end with ``_total``. Shares and means are two counters to divide: a
counter is exact over any window, survives the process that counted, and does not go stale while a pool waits for
input. Ray itself exports queue lengths, spilled bytes and GPU utilisation (`FROM_RAY`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Metric:
    """A metric's name, kind, tags besides ``run``, and meaning."""

    name: str
    kind: Literal["counter", "gauge"]
    tags: tuple[str, ...]
    says: str

    @property
    def recorded(self) -> str:
        """The name given to Ray."""
        return f"qrefine_{self.name}"

    @property
    def exported(self) -> str:
        """The name that Prometheus scrapes."""
        return f"ray_{self.recorded}" + ("_total" if self.kind == "counter" else "")


class Meter(Protocol):
    """Records metrics of one run."""

    def add(self, name: str, value: float = 1.0, **tags: str) -> None:
        """Increase a counter; a value of 0 is not recorded."""

    def set(self, name: str, value: float, **tags: str) -> None:
        """Set a gauge."""


class NoMeter:
    """Records nothing."""

    def add(self, name: str, value: float = 1.0, **tags: str) -> None:
        pass

    def set(self, name: str, value: float, **tags: str) -> None:
        pass


METRICS = {
    metric.name: metric
    for metric in (
        # recorded by the driver: committed data, so that sums agree with the table
        Metric("samples", "counter", ("status",), "rows committed: refined, kept or failed"),
        Metric("decisions", "counter", ("decision",), "rows committed, by what acceptance decided"),
        Metric("committed_bytes", "counter", (), "bytes of the parts committed"),
        Metric("commits", "counter", (), "commits to the table's log"),
        Metric("commit_seconds", "counter", (), "seconds spent in commits"),
        Metric("retried_samples", "counter", (), "rows done again, one by one, after a process died"),
        Metric("images_per_second", "gauge", (), "rows committed per second since the run began"),
        Metric("shards", "gauge", ("state",), "shards of the input: total, and done in the table"),
        # recorded by the workers: work done, committed or not
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
