"""The Kubernetes manifests: fields that exist, rules of the operator, names that refer to something."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from qrefine.cli.app import app
from qrefine.config import load_config
from tests.cluster.manifests import FOLDER, ROOT, Manifest, documents
from tests.cluster.schema import errors

FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name not in ("kustomization.yaml", "settings.yaml"))

ALL = {f"{path.name}:{document['kind']}": document for path in FILES for document in documents(path)}


def cluster_spec(document: Manifest) -> Manifest | None:
    """The RayClusterSpec in a document, if it has one."""
    spec = document.get("spec", {})
    if document["kind"] == "RayCluster":
        return spec
    return spec.get("jobTemplate", spec).get("rayClusterSpec") if document["kind"].startswith("Ray") else None


CLUSTERS = {name: spec for name, document in ALL.items() if (spec := cluster_spec(document))}
SPEC = next(iter(CLUSTERS.values()))


def pods(spec: Manifest) -> Iterator[Manifest]:
    yield spec["headGroupSpec"]["template"]["spec"]
    for group in spec["workerGroupSpecs"]:
        yield group["template"]["spec"]


@pytest.mark.parametrize("name", ALL)
def test_every_field_exists_and_has_its_type(name: str) -> None:
    assert errors(ALL[name]) == []


def rename_group_field(document: Manifest) -> None:
    group = document["spec"]["workerGroupSpecs"][0]
    group["maxReplica"] = group.pop("maxReplicas")


def misspell_pod_field(document: Manifest) -> None:
    document["spec"]["headGroupSpec"]["template"]["spec"]["serviceAccount_Name"] = "x"


def unknown_version(document: Manifest) -> None:
    document["spec"]["autoscalerOptions"]["version"] = "v3"


def nameless_container(document: Manifest) -> None:
    del document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["name"]


def number_for_text(document: Manifest) -> None:
    document["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def quantity_for_requests(document: Manifest) -> None:
    document["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["requests"] = "4"


@pytest.mark.parametrize(
    "damage",
    [
        rename_group_field,
        misspell_pod_field,
        unknown_version,
        nameless_container,
        number_for_text,
        quantity_for_requests,
    ],
)
def test_a_wrong_manifest_is_found_out(damage: Callable[[Manifest], None]) -> None:
    broken = copy.deepcopy(ALL["cluster.yaml:RayCluster"])
    damage(broken)
    assert len(errors(broken)) >= 1


def test_the_cluster_is_the_same_in_all_of_them() -> None:
    assert len(CLUSTERS) == 4
    assert all(spec == SPEC for spec in CLUSTERS.values())


def test_the_rules_of_the_operator() -> None:
    """What KubeRay 1.7 refuses beyond its schema (controllers/ray/utils/validation.go)."""
    assert [int(part) for part in SPEC["rayVersion"].split(".")] >= [2, 52, 0]  # tokens need it
    assert SPEC["authOptions"]["mode"] == "token"
    assert SPEC["enableInTreeAutoscaling"]
    assert SPEC["autoscalerOptions"]["version"] == "v2"
    for pod in pods(SPEC):
        assert pod["restartPolicy"] == "Never"  # autoscaler v2
        assert pod["containers"]
        assert not any(variable["name"] == "RAY_enable_autoscaler_v2" for variable in pod["containers"][0]["env"])
    for document in ALL.values():
        name = document["metadata"].get("name") or document["metadata"]["generateName"] + "x" * 5
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 47  # the operator makes longer names of it
        if document["kind"] == "RayJob":
            assert document["spec"]["shutdownAfterJobFinishes"]  # else ttlSecondsAfterFinished is refused


def test_the_head_works_not_and_gpus_are_spot_and_taken_whole() -> None:
    assert SPEC["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    head, readers, gpus = pods(SPEC)
    capacity = "karpenter.sh/capacity-type"
    assert [pod["nodeSelector"][capacity] for pod in (head, readers, gpus)] == ["on-demand", "on-demand", "spot"]
    assert gpus["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert any(toleration["key"] == "nvidia.com/gpu" for toleration in gpus["tolerations"])
    assert "nvidia.com/gpu" not in str(readers)


def test_nothing_runs_as_root_or_is_open() -> None:
    assert SPEC["headGroupSpec"]["serviceType"] == "ClusterIP"
    jobs = [document["spec"]["jobTemplate"]["spec"] for document in ALL.values() if document["kind"] == "CronJob"]
    for pod in [*pods(SPEC), *(job["template"]["spec"] for job in jobs)]:
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert container["resources"]["limits"]["memory"]


def test_versions_are_those_of_the_project() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert f"ray=={SPEC['rayVersion']}\n" in pins
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {pod["containers"][0]["image"] for pod in pods(SPEC)} == {f"qrefine:{version[1]}"}


def test_what_pods_refer_to_is_there() -> None:
    made = {(document["kind"], document["metadata"].get("name")) for document in ALL.values()}
    for path in FOLDER.rglob("kustomization.yaml"):
        (settings,) = documents(path)
        assert all((path.parent / name).is_file() for name in settings["resources"])
        for generated in settings["configMapGenerator"]:
            assert all((path.parent / name).is_file() for name in generated["files"])
            made.add(("ConfigMap", generated["name"]))
    for pod in pods(SPEC):
        assert ("ServiceAccount", pod["serviceAccountName"]) in made
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == set(volumes)
        assert ("ConfigMap", volumes["settings"]["configMap"]["name"]) in made
    nightly = ALL["cronjob.yaml:CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert ("ServiceAccount", nightly["serviceAccountName"]) in made
    assert ("ConfigMap", nightly["volumes"][0]["configMap"]["name"]) in made
    assert nightly["containers"][0]["args"][-1].endswith("/job/rayjob.yaml")


@pytest.mark.parametrize("name", [name for name in ALL if re.search("RayJob|RayCronJob", name)])
def test_entrypoints_are_commands_with_settings_that_load(name: str) -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    job = ALL[name]["spec"]
    program, command, source, table, flag, settings = shlex.split(job.get("jobTemplate", job)["entrypoint"])
    assert program == "qrefine"
    assert command in known
    assert source.endswith("*.tar")
    assert table.startswith("s3://")
    assert (flag, settings) == ("--config", "/etc/qrefine/settings.yaml")


def test_the_settings_load_and_ask_for_the_gpus_that_there_may_be() -> None:
    settings = load_config(FOLDER / "settings.yaml")
    (gpus,) = (group for group in SPEC["workerGroupSpecs"] if group["groupName"] == "spot-gpus")
    assert settings.stream.gpus == gpus["maxReplicas"]
    assert gpus["minReplicas"] == 0
    weights = [settings.mapper.weights, settings.inpaint.weights, settings.enhance.blind.weights]
    assert all(str(path).startswith("/models/") for path in weights)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "nightly"], ids=lambda path: path.name)
def test_kustomize_builds_them(folder: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert "ConfigMap" in {document["kind"] for document in built}
    assert [error for document in built for error in errors(document)] == []
