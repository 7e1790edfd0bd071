"""Checks of one machine: versions, memory, disk, GPUs, and the models that the settings name."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from qrefine.config import Backend, RefineConfig
from qrefine.doctor.findings import Finding, blocker, ok, warning
from qrefine.errors import UserError
from qrefine.models.locate import is_hub_id, model_source

SHOWN = ("qrefine", "ray", "deltalake", "pyarrow", "torch")
GIB = 2**30
MEMORY_PER_ACTOR = 1.0 * GIB  # with reserve: 0.5 GB with torch loaded and eight decoded images of 1.5 megapixels
DISK_FULL = 0.95  # Ray does not spill to a fuller disk (local_fs_capacity_threshold)
DISK_LOW = 10 * GIB
GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits")
DIFFUSION = ("diffusers", "diffusers_inpaint")
HEAVY = (*DIFFUSION, "spandrel")
IN_IMAGE = "bake it into the image or mount it (cluster/README.md), and set weights to its folder"


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver reports it, even if a process may not use it; memory in GiB."""

    name: str
    memory: float
    capability: str  # compute capability, such as 9.0


def examine_machine(config: RefineConfig, actors: int, store: float) -> list[Finding]:
    """Everything about this machine; ``actors`` it will run, ``store``: bytes of Ray's object store."""
    import torch

    temporary = os.environ.get("RAY_TMPDIR", "/tmp")
    found = shutil.disk_usage(temporary)
    return [
        *check_versions(),
        check_memory(available_memory(), actors, store),
        check_shared_memory(Path("/dev/shm"), store),
        check_disk(temporary, found.total, found.free),
        *check_gpus(list_gpus(), torch.version.cuda, torch.cuda.get_arch_list()),
        *check_models(config),
    ]


def check_versions() -> Iterator[Finding]:
    """The packages that qrefine requires, compared with the installed ones."""
    for text in metadata.requires("qrefine") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield blocker("versions", f"{requirement.name} is missing", f"pip install '{_plain(requirement)}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            asked = f"{requirement.name} is {version}, qrefine needs {requirement.specifier}"
            yield blocker("versions", asked, f"pip install '{_plain(requirement)}'")
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN)
    yield ok("versions", f"Python {platform.python_version()}, {shown}")


def _plain(requirement: Requirement) -> str:
    return str(requirement).partition(";")[0].strip()


def available_memory() -> float:
    """Bytes that new processes may use: the system's, or what is left of the container's limit."""
    memory = float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    try:
        memory = 1024 * float(re.findall(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[0])
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = float(Path("/sys/fs/cgroup/memory.current").read_text())
        return memory if limit == "max" else min(memory, float(limit) - used)
    except (OSError, ValueError, IndexError):
        return memory


def check_memory(available: float, actors: int, store: float) -> Finding:
    needed = store + actors * MEMORY_PER_ACTOR
    text = f"{available / GIB:.1f} GiB free for {actors} actors and an object store of {store / GIB:.1f} GiB"
    if available >= needed:
        return ok("memory", text)
    return warning(
        "memory",
        f"{text}: {needed / GIB:.1f} GiB are likely needed",
        "more memory, fewer actors (stream.pools), or a smaller stream.store_mb",
    )


def check_shared_memory(place: Path, store: float) -> Finding:
    """Ray keeps its objects in shared memory; if that is too small it uses the disk, many times slower."""
    if not place.is_dir():
        return ok("shm", f"no {place} on this system")
    size = shutil.disk_usage(place).total
    if size >= store:
        return ok("shm", f"{place} has {size / GIB:.1f} GiB")
    return warning(
        "shm",
        f"{place} has {size / GIB:.1f} GiB for an object store of {store / GIB:.1f} GiB: Ray will use the disk",
        "docker run --shm-size, or an emptyDir with medium: Memory mounted at /dev/shm",
    )


def check_disk(place: str, total: int, free: int) -> Finding:
    text = f"{place} has {free / GIB:.0f} of {total / GIB:.0f} GiB free"
    if free < (1 - DISK_FULL) * total:
        return blocker(
            "disk",
            f"{text}: Ray refuses to write to a disk more than {DISK_FULL:.0%} full",
            "free some of it, or set RAY_TMPDIR to another disk",
        )
    if free < DISK_LOW:
        return warning("disk", f"{text}; Ray's logs and spilled blocks go there", "free some of it, or RAY_TMPDIR")
    return ok("disk", text)


def list_gpus() -> list[Gpu]:
    """The GPUs that NVIDIA's driver reports; CUDA hides them from a Ray task that requested none."""
    try:
        done = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split(", ") for line in done.stdout.splitlines() if line.count(", ") == 2]
    return [Gpu(name, float(memory) / 1024, capability) for name, memory, capability in rows]


def check_gpus(gpus: list[Gpu], cuda: str | None, architectures: list[str]) -> Iterator[Finding]:
    """Whether torch was built for the GPUs; ``architectures`` as torch lists them."""
    counts = {gpu: gpus.count(gpu) for gpu in gpus}
    text = ", ".join(f"{count} x {gpu.name} ({gpu.memory:.0f} GiB)" for gpu, count in counts.items())
    if not gpus:
        yield ok("gpus", "none")
    elif cuda is None:
        yield blocker(
            "gpus",
            f"{text}, but torch is a build without CUDA",
            "install torch from the index of a CUDA build (--index-url, as in cluster/Dockerfile)",
        )
    else:
        yield ok("gpus", f"{text}, torch with CUDA {cuda}")
        for gpu in counts:
            if architectures and not any(_runs_on(one, gpu.capability) for one in architectures):
                yield blocker(
                    "gpus",
                    f"{gpu.name} has compute capability {gpu.capability}, torch is for {', '.join(architectures)}",
                    "install a build of torch for it",
                )


def _runs_on(architecture: str, capability: str) -> bool:
    """Machine code (``sm_80``) runs on its own major version from its minor one on, PTX on all later ones."""
    kind, _, digits = architecture.partition("_")
    digits = digits.rstrip("af")
    built, own = (int(digits[:-1]), int(digits[-1])), tuple(int(part) for part in capability.split("."))
    return built <= own and (kind == "compute" or built[0] == own[0])


def wants_gpu(config: RefineConfig) -> bool:
    return any(backend.name in HEAVY for _, backend in _backends(config))


def check_gpu_count(config: RefineConfig, count: float) -> Iterator[Finding]:
    """Whether there is a GPU, on this machine or in the cluster, for settings that need one."""
    if count < 1 and wants_gpu(config):
        yield warning(
            "gpus",
            "the settings name diffusion or restoration models and there is no GPU: minutes an image",
            "add GPU nodes, or use the embedded models",
        )


def check_models(config: RefineConfig) -> Iterator[Finding]:
    """Small models are loaded; of diffusion models, which take minutes and gigabytes, the files are looked for."""
    from qrefine.models.registry import load_comparator, load_judge, load_mapper, load_restorer

    cache: dict[str, object] = {}
    yield _loaded("mapper", config.mapper.name, load_mapper, config.mapper, cache, config.bounds)
    for role, backend in _backends(config):
        if backend.name in DIFFUSION:
            yield _diffusion(role, backend)
        else:
            yield _loaded(role, backend.name, load_restorer, backend, cache)
    if config.accept.risk is not None:
        yield _loaded("accept.judge", config.accept.judge.name, load_comparator, config.accept.judge)
    for judge in config.judges:
        yield _loaded("judge", judge, load_judge, judge)


def _backends(config: RefineConfig) -> list[tuple[str, Backend]]:
    enhance = config.enhance
    prompt = [("enhance.prompt", enhance.prompt)] if enhance.prompt else []
    return [("inpaint", config.inpaint), ("enhance.blind", enhance.blind), *prompt]


def _loaded(role: str, name: str, load: Callable[..., Any], *arguments: Any) -> Finding:
    try:
        load(*arguments)
    except UserError as error:
        return blocker("models", f"{role}: {error}", "check its name, its weights and its extra; " + IN_IMAGE)
    return ok("models", f"{role} {name}: loads")


def _diffusion(role: str, backend: Backend) -> Finding:
    try:
        weights = model_source(backend.weights, "model_index.json", "a model of diffusers")
    except ValueError as error:
        return blocker("models", f"{role}: {error}", IN_IMAGE)
    if not is_hub_id(weights):
        return ok("models", f"{role} {backend.name}: {weights} is there")
    try:
        from huggingface_hub import constants, try_to_load_from_cache
    except ImportError:
        return blocker("models", f"{role}: diffusers is not installed", "pip install 'qrefine[diffusion]'")
    cached = try_to_load_from_cache(weights, "model_index.json", revision=backend.options.get("revision"))
    if isinstance(cached, str):
        return ok("models", f"{role} {backend.name}: {weights} is in the cache")
    if constants.HF_HUB_OFFLINE:
        return blocker("models", f"{role}: {weights} is not in the cache, and HF_HUB_OFFLINE is set", IN_IMAGE)
    return warning("models", f"{role}: {weights} is not in the cache; each node will download it", IN_IMAGE)
