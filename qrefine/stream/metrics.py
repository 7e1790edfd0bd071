"""Metrics recorded through Ray, whose agent on each node exports them to Prometheus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ray.util.metrics import Counter, Gauge

from qrefine.work.meter import METRICS


@dataclass(frozen=True)
class RayMeter:
    """Records metrics of one run, from any of its processes."""

    run: str

    def add(self, name: str, value: float = 1.0, **tags: str) -> None:
        """Increase a counter; a value of 0 is not recorded."""
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
