"""Backends by name, or by ``package.module:Class`` from outside the package; adding one is one file.

A package may also name its own through the entry points ``qrefine.mappers``, ``qrefine.restorers`` and
``qrefine.judges``; a name of this package's goes before theirs.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from qrefine.config import Backend, MapperSettings
from qrefine.errors import UserError
from qrefine.models.base import Restorer
from qrefine.quality.map import Image, Mapper

MAPPERS: Mapping[str, str] = {
    "embedded": "qrefine.models.mappers.embedded:EmbeddedMapper",
    "piqe": "qrefine.models.mappers.piqe:PiqeMapper",
    "roi_pool": "qrefine.models.mappers.roi_pool:RoiPoolMapper",
    "pq_map": "qrefine.models.mappers.pq_map:PqMapper",
}
RESTORERS: Mapping[str, str] = {
    "embedded": "qrefine.models.restorers.embedded:EmbeddedRestorer",
    "classical": "qrefine.models.restorers.classical:ClassicalRestorer",
    "diffusers": "qrefine.models.diffusion.img2img:DiffusersRestorer",
    "diffusers_inpaint": "qrefine.models.diffusion.inpaint:NativeInpainter",
    "spandrel": "qrefine.models.restorers.spandrel:SpandrelRestorer",
}
# what stands behind the colon is the metric's name
METRIC_PREFIX = "tiles:"
METRIC_MAPPER = "qrefine.models.mappers.tiles:TilesMapper"
METRIC_JUDGE = "qrefine.models.judges.metric:MetricJudge"
# need no other package than torch and OpenCV: to look whether they are there would only import those
ALWAYS_THERE = frozenset({"embedded", "classical", "piqe"})
WEIGHT_SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin"})
JUDGES: Mapping[str, str] = {"piqe": "qrefine.models.judges.piqe:piqe_score"}


def load_mapper(settings: MapperSettings, cache: dict[str, object] | None = None) -> Mapper:
    """The mapper that the settings name; ``cache`` shares it between stages of one process."""
    extra: dict[str, Any] = {"grid": settings.grid}
    if settings.name.startswith(METRIC_PREFIX):
        extra["metric"] = settings.name.removeprefix(METRIC_PREFIX)
    return _load("mapper", MAPPERS, settings, cache, **extra)


def load_restorer(settings: Backend, cache: dict[str, object] | None = None) -> Restorer:
    """The inpainter or enhancer that the settings name; the same network serves both roles where it can."""
    return _load("restorer", RESTORERS, settings, cache)


def load_judge(name: str) -> Callable[[Image], float]:
    """A judge: one RGB image in, one score out."""
    judge = _find("judge", JUDGES, name)
    if not name.startswith(METRIC_PREFIX):
        return judge
    try:
        return judge(name.removeprefix(METRIC_PREFIX))
    except (ImportError, ValueError) as error:
        raise UserError(f"judge {name!r} cannot be loaded: {error}") from error


def check_backends(mapper: Backend, restorers: Sequence[Backend], judges: Sequence[str]) -> None:
    """Raises UserError for a name or a file that is not there, before any worker is started."""
    for kind, known, settings in [("mapper", MAPPERS, mapper), *(("restorer", RESTORERS, r) for r in restorers)]:
        _check(kind, known, settings.name)
        weights = settings.weights
        if weights is not None and _is_local(weights) and not Path(weights).expanduser().exists():
            raise UserError(f"{kind} {settings.name!r}: its weights are not at {Path(weights).absolute()}")
    for judge in judges:
        _check("judge", JUDGES, judge)


def _check(kind: str, known: Mapping[str, str], name: str) -> None:
    if not (name in known and name in ALWAYS_THERE):
        _find(kind, known, name)


def _is_local(weights: str) -> bool:
    """Whether weights are a path for sure; ``owner/model`` may be a folder or a model id."""
    return weights.startswith(("/", "./", "../", "~")) or Path(weights).suffix in WEIGHT_SUFFIXES


def _load(
    kind: str, known: Mapping[str, str], settings: Backend, cache: dict[str, object] | None, **extra: Any
) -> Any:
    cache = {} if cache is None else cache
    options = {**settings.options, **extra}
    key = json.dumps([kind, settings.name, settings.weights, options], sort_keys=True, default=str)
    if key not in cache:
        backend = _find(kind, known, settings.name)
        try:
            cache[key] = backend(weights=settings.weights, **options)
        except Exception as error:  # torch's and safetensors' own classes among them
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{kind} {settings.name!r} cannot be loaded: {reason}") from error
    return cache[key]


def _find(kind: str, known: Mapping[str, str], name: str) -> Any:
    if name.startswith(METRIC_PREFIX) and kind in ("mapper", "judge"):
        name = METRIC_MAPPER if kind == "mapper" else METRIC_JUDGE
    path = known.get(name, name)
    if ":" not in path:
        others = {entry.name: entry.value for entry in entry_points(group=f"qrefine.{kind}s")}
        path = others.get(name, name)
        known = {**others, **known}
    module_name, colon, attribute = path.partition(":")
    if not colon:
        raise UserError(f"unknown {kind} {name!r}: known are {', '.join(known)}, or give package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a module from outside does when it is imported
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{kind} {name!r}: cannot import {module_name!r}: {reason}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise UserError(f"{kind} {name!r}: {module_name} has no class or function {attribute!r}")
    return found
