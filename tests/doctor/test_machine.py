"""Each judgement about a machine, for the better and for the worse."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from qrefine.config import RefineConfig, load_config
from qrefine.doctor.findings import Finding
from qrefine.doctor.machine import (
    GIB,
    Gpu,
    available_memory,
    check_disk,
    check_gpu_count,
    check_gpus,
    check_memory,
    check_models,
    check_shared_memory,
    check_versions,
    list_gpus,
)

H100 = Gpu("NVIDIA H100 80GB HBM3", 79.6, "9.0")
T4 = Gpu("Tesla T4", 15.0, "7.5")


def states(findings: object) -> list[str]:
    return [finding.state for finding in findings]  # type: ignore[attr-defined]


def test_this_installation_has_what_it_needs() -> None:
    found = list(check_versions())
    assert states(found) == ["ok"]
    assert f"ray {metadata.version('ray')}" in found[0].text


@pytest.mark.parametrize(
    ("asked", "said"),
    [("ray>=99", "ray is"), ("no-such-package>=1", "no-such-package is missing")],
)
def test_a_wrong_or_missing_package_is_a_blocker(asked: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: [asked, 'never>=1; extra == "pyiqa"'])
    found = list(check_versions())
    assert states(found) == ["blocker", "ok"]
    assert said in found[0].text
    assert f"pip install '{asked}'" == found[0].mend


def test_memory_is_weighed_against_actors_and_store() -> None:
    assert check_memory(8 * GIB, actors=4, store=GIB).state == "ok"
    short = check_memory(4 * GIB, actors=4, store=GIB)
    assert short.state == "warning"
    assert "5.0 GiB are likely needed" in short.text
    assert 0 < available_memory() < 2**50


def test_a_small_shared_memory_is_warned_of(tmp_path: Path) -> None:
    assert check_shared_memory(Path("/dev/shm"), store=1).state == "ok"
    assert check_shared_memory(tmp_path / "none", store=2**60).state == "ok"
    small = check_shared_memory(Path("/dev/shm"), store=2**60)
    assert small.state == "warning"
    assert "shm-size" in small.mend


@pytest.mark.parametrize(("free", "state"), [(400 * GIB, "ok"), (30 * GIB, "blocker"), (0, "blocker")])
def test_a_disk_that_ray_would_not_write_to_is_a_blocker(free: int, state: str) -> None:
    assert check_disk("/tmp", 1000 * GIB, free).state == state


def test_a_small_disk_is_warned_of() -> None:
    assert check_disk("/tmp", 50 * GIB, 5 * GIB).state == "warning"


def test_a_cpu_build_of_torch_beside_a_gpu_is_a_blocker() -> None:
    (found,) = check_gpus([H100, H100], None, [])
    assert found.state == "blocker"
    assert "2 x NVIDIA H100" in found.text


@pytest.mark.parametrize(
    ("gpu", "architectures", "runs"),
    [
        (H100, ["sm_80", "sm_90"], True),
        (H100, ["sm_90a"], True),
        (H100, ["sm_80", "compute_80"], True),  # PTX is compiled on the spot
        (H100, ["sm_80"], False),
        (Gpu("NVIDIA A10G", 22.0, "8.6"), ["sm_80"], True),  # a later minor revision of the same major one
        (T4, ["sm_80", "sm_90", "sm_120"], False),
        (Gpu("RTX 5090", 32.0, "12.0"), ["sm_80", "sm_90"], False),
    ],
)
def test_torch_must_be_built_for_the_gpu(gpu: Gpu, architectures: list[str], runs: bool) -> None:
    found = list(check_gpus([gpu], "12.8", architectures))
    assert states(found) == (["ok"] if runs else ["ok", "blocker"])


def test_gpus_are_read_from_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A10G, 23028, 8.6'\necho 'NVIDIA A10G, 23028, 8.6'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert [(gpu.name, round(gpu.memory), gpu.capability) for gpu in list_gpus()] == [
        ("NVIDIA A10G", 22, "8.6")
    ] * 2
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed: no devices were found'\nexit 6\n")
    assert list_gpus() == []


def test_diffusion_without_a_gpu_is_warned_of() -> None:
    heavy = load_config(None, ["inpaint={name: diffusers, weights: owner/model}"])
    assert states(check_gpu_count(heavy, 0)) == ["warning"]
    assert states(check_gpu_count(heavy, 1)) == []
    assert states(check_gpu_count(RefineConfig(), 0)) == []


def models(*settings: str) -> list[Finding]:
    return list(check_models(load_config(None, settings)))


def test_the_models_of_the_wheel_load() -> None:
    assert states(models()) == ["ok"] * 5


def test_a_missing_or_damaged_model_is_a_blocker_that_names_its_file(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x00" * 100)
    for path in (damaged, tmp_path / "missing.safetensors"):
        bad = [found for found in models(f"inpaint={{weights: {path}}}") if found.state == "blocker"]
        assert len(bad) == 1
        assert str(path) in bad[0].text
        assert bad[0].text.startswith("inpaint:")
    unknown = models("judges=[nobody]")[-1]
    assert (unknown.state, "nobody" in unknown.text) == ("blocker", True)


def test_diffusion_models_are_looked_for_and_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def look(weights: object) -> Finding:
        (found,) = [f for f in models(f"inpaint={{name: diffusers, weights: {weights}}}") if "inpaint" in f.text]
        return found

    (tmp_path / "model").mkdir()
    assert look(tmp_path / "model").state == "blocker"
    (tmp_path / "model" / "model_index.json").write_text("{}")
    assert look(tmp_path / "model").state == "ok"
    assert look("owner/model").state == "warning"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert look("owner/model").state == "blocker"
    assert look("null").state == "blocker"
