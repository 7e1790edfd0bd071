"""The nodes of a running Ray cluster, and running a function on each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Result = TypeVar("Result")


@dataclass(frozen=True)
class Node:
    """A node that is alive; CPUs and GPUs are Ray's logical ones, ``store`` is its object store in bytes."""

    id: str
    address: str
    head: bool
    cpus: float
    gpus: float
    store: float

    @property
    def name(self) -> str:
        """The address and part of the id: test clusters have several nodes at one address."""
        return f"{self.address}/{self.id[:4]}"


def alive_nodes() -> list[Node]:
    """The nodes of the cluster that this process is connected to, the head first."""
    nodes = [
        Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            head="node:__internal_head__" in node["Resources"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
            store=node["Resources"].get("object_store_memory", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: (not node.head, node.name))


def count_nodes() -> int:
    """Number of alive nodes of the connected cluster; 0 if this process is not connected."""
    return sum(node["Alive"] for node in ray.nodes()) if ray.is_initialized() else 0


def on_each_node(
    nodes: Sequence[Node], call: Callable[..., Result], *arguments: Any, timeout_s: float
) -> dict[Node, Result | Exception]:
    """``call(node, *arguments)`` as a task on all nodes at once: its result or its error.

    The tasks request no logical resources, so that a head of 0 CPUs and busy nodes answer too.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(call)
    pending: dict[Node, Any] = {}
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node.id, soft=False)
        pending[node] = task.options(scheduling_strategy=where).remote(node, *arguments)
    ray.wait(list(pending.values()), num_returns=len(pending), timeout=timeout_s)
    return {node: _result(reference) for node, reference in pending.items()}


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=0)
    except GetTimeoutError:
        return TimeoutError("gave no answer in time")
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except RayError as error:
        return error


def dashboard_url() -> str | None:
    """Address of the cluster's dashboard as ``host:port``; None without a dashboard."""
    return ray.init(ignore_reinit_error=True, logging_level=logging.ERROR).dashboard_url or None
