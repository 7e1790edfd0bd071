"""A Ray cluster of two nodes looked at for real; what must agree between nodes, judged on made-up ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qrefine.config import load_config
from qrefine.doctor.cluster import (
    check_answers,
    check_clocks,
    check_head,
    check_logical_gpus,
    check_placement,
    check_reachable,
    check_tokens,
    check_versions_agree,
)
from qrefine.doctor.findings import Finding, ok
from qrefine.errors import UserError
from qrefine.stream.nodes import Node
from qrefine.stream.pools import plan_topology
from tests.support import write_shards

HEAD = Node("a" * 56, "10.0.0.1", head=True, cpus=0, gpus=0, store=1e9)
READER = Node("b" * 56, "10.0.0.2", head=False, cpus=8, gpus=0, store=1e9)
GPU = Node("c" * 56, "10.0.0.3", head=False, cpus=8, gpus=1, store=1e9)


def states(findings: object) -> list[str]:
    return [finding.state for finding in findings]  # type: ignore[attr-defined]


def test_nodes_that_do_not_answer_are_named() -> None:
    missing, silent = check_answers(
        {READER: ModuleNotFoundError("No module named 'qrefine'"), GPU: TimeoutError()}
    )
    assert missing.state == silent.state == "blocker"
    assert READER.name in missing.text
    assert "--working-dir" in missing.mend
    assert silent.text == f"{GPU.name}: TimeoutError"


def test_versions_must_agree() -> None:
    one, other = ok("versions", "ray 2.60.0"), ok("versions", "ray 2.59.0")
    assert states(check_versions_agree({"a": [one, ok("disk", "a")], "b": [one, ok("disk", "b")]})) == []
    assert states(check_versions_agree({"a": [one], "b": [other]})) == ["blocker"]


@pytest.mark.parametrize(("clock", "said"), [(99, None), (105, None), (130, "+20 s"), (80, "-20 s")])
def test_clocks_must_agree(clock: float, said: str | None) -> None:
    found = list(check_clocks({"a": clock}, started=100, ended=110))
    assert [said in finding.text for finding in found if said] == ([True] if said else [])
    assert len(found) == (said is not None)


def test_gpus_that_ray_does_not_count_are_warned_of() -> None:
    assert states(check_logical_gpus({GPU: 1, READER: 0})) == []
    assert states(check_logical_gpus({GPU: 8})) == ["warning"]


def test_an_actor_that_fits_nowhere_is_warned_of() -> None:
    pool = "{stages: [map, noise, inpaint, enhance, accept], gpus: 1, cpus: 4, size: 2}"
    topology = plan_topology(load_config(None, [f"stream.pools=[{pool}]"]), 8, 0)
    assert states(check_placement(topology, [HEAD, READER, GPU])) == ["ok"]
    assert states(check_placement(topology, [HEAD, READER])) == ["ok", "warning"]


def test_work_on_the_head_is_warned_of() -> None:
    busy = Node("d" * 56, "10.0.0.4", head=True, cpus=4, gpus=0, store=1e9)
    assert states(check_head([HEAD, READER])) == []
    assert states(check_head([busy, READER])) == ["warning"]
    assert states(check_head([busy])) == []


@pytest.mark.parametrize(("mode", "state"), [("token", "ok"), (None, "ok"), ("disabled", "warning")])
def test_an_open_dashboard_is_warned_of(mode: str | None, state: str) -> None:
    assert check_tokens(mode).state == state


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:9"):
        check_reachable("127.0.0.1:9")
    check_reachable("auto")


CLUSTER = """
import os, subprocess, sys
from ray.cluster_utils import Cluster
store = 100 * 2**20
head = {"num_cpus": 0, "object_store_memory": store, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=store)
command = [sys.executable, "-m", "qrefine.cli", "doctor", "--cluster", *sys.argv[1:]]
done = subprocess.run(command, env={**os.environ, "RAY_ADDRESS": cluster.address})
cluster.shutdown()
sys.exit(done.returncode)
"""


def test_each_node_of_a_running_cluster_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_shards(tmp_path / "in", shards=1, samples=1)
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    arguments = [str(tmp_path / "in"), str(tmp_path / "out")]
    command = [sys.executable, "-c", CLUSTER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    shown = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 nodes, 1 CPUs, 1 GPUs" in shown[0]
    assert any("the first shard reads" in line and "[every node]" in line for line in shown)
    assert any("1 x [map, noise, inpaint, enhance, accept]" in line for line in shown)
    assert shown[-1].startswith("ready: 0 blockers")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_the_beacon_shows_that_a_path_is_another_on_another_machine(tmp_path: Path) -> None:
    from qrefine.doctor.cluster import _look

    (tmp_path / "in").mkdir()
    write_shards(tmp_path / "in", shards=1, samples=1)
    report = _look(
        READER,
        [str(tmp_path / "in")],
        str(tmp_path / "out"),
        load_config(None),
        "_qrefine/doctor-of-the-head.json",
    )
    said: list[Finding] = [finding for finding in report.findings if finding.state == "blocker"]
    assert [finding.area for finding in said] == ["output"]
    assert "another place here" in said[0].text
