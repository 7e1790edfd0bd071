"""Checks of a running Ray cluster: each node like a single machine, and what must agree between nodes."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qrefine.config import RefineConfig
from qrefine.doctor.findings import Finding, blocker, by_node, ok, warning
from qrefine.doctor.machine import check_gpu_count, examine_machine, list_gpus
from qrefine.doctor.network import refusal
from qrefine.doctor.storage import beacon, examine_storage
from qrefine.errors import UserError
from qrefine.storage.store import Store
from qrefine.stream.nodes import Node, alive_nodes, dashboard_url, on_each_node
from qrefine.stream.pools import Topology, plan_topology
from qrefine.stream.session import session

ANSWER_S = 300.0  # a node may have to install a working directory and to load a model first
CLOCKS_S = 5.0  # leases compare clocks of different machines


@dataclass(frozen=True)
class Report:
    """What one node found, how many GPUs its driver shows, and its clock in Unix seconds."""

    findings: list[Finding]
    gpus: int
    clock: float


def examine_cluster(inputs: Sequence[str], output: str, config: RefineConfig) -> list[Finding]:
    """The cluster that the settings or RAY_ADDRESS name, else the one that runs on this machine.

    Raises UserError if no cluster runs.
    """
    address = config.stream.address or os.environ.get("RAY_ADDRESS") or "auto"
    check_reachable(address)
    with session(config.stream.model_copy(update={"address": address})):
        nodes = alive_nodes()
        gpus = sum(node.gpus for node in nodes)
        topology = plan_topology(config, sum(node.cpus for node in nodes), gpus)
        store = Store.at(output, config.storage_options)
        try:
            with beacon(store) as name:
                started = time.time()
                answers = on_each_node(nodes, _look, inputs, store.url, config, name, timeout_s=ANSWER_S)
                ended = time.time()
        except UserError:
            return examine_storage(inputs, output, config)  # says what cannot be written and how to fix it
        reports = {node: answer for node, answer in answers.items() if isinstance(answer, Report)}
        return [
            check_nodes(nodes),
            *check_answers(answers),
            *by_node({node.name: report.findings for node, report in reports.items()}),
            *check_versions_agree({node.name: report.findings for node, report in reports.items()}),
            *check_clocks({node.name: report.clock for node, report in reports.items()}, started, ended),
            *check_logical_gpus({node: report.gpus for node, report in reports.items()}),
            *check_gpu_count(config, gpus),
            *check_placement(topology, nodes),
            *check_head(nodes),
            check_tokens(authentication_mode()),
        ]


def check_reachable(address: str) -> None:
    """Raises UserError if nothing listens at ``host:port``: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():  # auto, ray://, anyscale://
        return
    reason = refusal(host, int(port))
    if reason is not None:
        raise UserError(f"no Ray cluster answers at {address}: {reason} (is it up, its port open?)")


def _look(node: Node, inputs: Sequence[str], output: str, config: RefineConfig, beacon_name: str) -> Report:
    """Runs on the node."""
    actors = int(node.gpus or node.cpus)
    findings = [*examine_machine(config, actors, node.store), *examine_storage(inputs, output, config)]
    if not Store.at(output, config.storage_options).exists(beacon_name):
        findings.append(
            blocker(
                "output",
                f"{output} is another place here than where the run is started",
                "use an object store, or a disk that all nodes mount at the same path",
            )
        )
    return Report(findings, len(list_gpus()), time.time())


def check_nodes(nodes: Sequence[Node]) -> Finding:
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    return ok("cluster", f"{len(nodes)} nodes, {cpus:g} CPUs, {gpus:g} GPUs")


def check_answers(answers: Mapping[Node, object]) -> Iterator[Finding]:
    for node, answer in answers.items():
        if isinstance(answer, ImportError):
            yield blocker(
                "cluster",
                f"{node.name} cannot import what a run needs: {answer}",
                "install qrefine there, or submit with --working-dir",
            )
        elif isinstance(answer, Exception):
            said = " ".join(str(answer).split())[-300:] or type(answer).__name__
            yield blocker("cluster", f"{node.name}: {said}", "look at its logs: ray logs, or kubectl logs")


def check_versions_agree(found: Mapping[str, Sequence[Finding]]) -> Iterator[Finding]:
    """Results must not depend on the node: one image, one set of versions."""
    shown = {finding.text for findings in found.values() for finding in findings if _is_versions(finding)}
    if len(shown) > 1:
        yield blocker("versions", "they differ between nodes", "start all nodes from one image")


def _is_versions(finding: Finding) -> bool:
    return finding.area == "versions" and finding.state == "ok"


def check_clocks(clocks: Mapping[str, float], started: float, ended: float) -> Iterator[Finding]:
    """A node's clock must lie between the times of question and answer here, within CLOCKS_S."""
    for name, clock in clocks.items():
        ahead = max(clock - ended, 0.0) - max(started - clock, 0.0)
        if abs(ahead) > CLOCKS_S:
            yield warning("clocks", f"{name} is {ahead:+.0f} s off", "run chrony or ntpd: leases compare clocks")


def check_logical_gpus(gpus: Mapping[Node, int]) -> Iterator[Finding]:
    for node, count in gpus.items():
        if count and count != node.gpus:
            yield warning(
                "gpus",
                f"{node.name} has {count} GPUs, Ray counts {node.gpus:g}",
                "ray start --num-gpus, or the container's nvidia.com/gpu limit",
            )


def check_placement(topology: Topology, nodes: Sequence[Node]) -> Iterator[Finding]:
    """An actor that fits on no node waits for an autoscaler to add a larger one; without autoscaler, for ever."""
    yield ok("pools", "; ".join(f"{pool.size} x [{', '.join(pool.stages)}]" for pool in topology.pools))
    for pool in topology.pools:
        if not any(node.cpus >= pool.cpus and node.gpus >= pool.gpus for node in nodes):
            asked = f"{pool.cpus:g} CPUs and {pool.gpus:g} GPUs"
            yield warning(
                "pools",
                f"no node that runs now has {asked} for an actor of [{', '.join(pool.stages)}]",
                "add one, or smaller actors in stream.pools; an autoscaler may add it when the run asks",
            )


def check_head(nodes: Sequence[Node]) -> Iterator[Finding]:
    for node in nodes:
        if node.head and node.cpus and len(nodes) > 1:
            yield warning(
                "head",
                f"the head has {node.cpus:g} CPUs: an actor that runs out of memory there ends the cluster",
                "start it with --num-cpus=0 (rayStartParams: num-cpus)",
            )


def authentication_mode() -> str | None:
    """Authentication mode of the dashboard: ``token`` or ``disabled``; None without a dashboard."""
    address = dashboard_url()
    if address is None:
        return None
    try:
        with urllib.request.urlopen(f"http://{address}/api/authentication_mode", timeout=10) as answer:
            return str(json.load(answer)["authentication_mode"])
    except (OSError, ValueError, KeyError):
        return None


def check_tokens(mode: str | None) -> Finding:
    if mode == "token":
        return ok("tokens", "the cluster asks for a token")
    if mode is None:
        return ok("tokens", "no dashboard here, so no jobs over HTTP")
    return warning(
        "tokens",
        "the cluster takes jobs from whoever reaches its dashboard",
        "RAY_AUTH_MODE=token and a token on every node (authOptions on KubeRay)",
    )
