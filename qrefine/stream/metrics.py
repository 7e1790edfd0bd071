"""Metrics recorded through Ray: its agent on each node exports them for Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ray.util.metrics import Counter, Gauge

from qrefine.work.meter import METRICS


@dataclass(frozen=True)
class RayMeter:
    """Records metrics of one run, from any process of it."""

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
