"""Backends by name, or by ``package.module:Class`` from other packages.

A package may also name its own through the entry points ``qrefine.mappers``, ``qrefine.restorers``,
``qrefine.comparators`` and ``qrefine.judges``; a name of this package's goes before theirs.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from threading import RLock
from typing import Any

from qrefine.config import Backend, Bounds, MapperSettings
from qrefine.errors import UserError, one_line
from qrefine.models.base import Comparator, Restorer
from qrefine.models.locate import local_path
from qrefine.models.options import Options
from qrefine.quality.map import Image, Mapper

MAPPERS: Mapping[str, str] = {
    "embedded": "qrefine.models.mappers.embedded:EmbeddedMapper",
    "piqe": "qrefine.models.mappers.piqe:PiqeMapper",
    "roi_pool": "qrefine.models.mappers.roi_pool:RoiPoolMapper",
    "pq_map": "qrefine.models.mappers.pq_map:PqMapper",
    "segmentation": "qrefine.models.mappers.segmentation:SegmentationMapper",
    "worst": "qrefine.models.mappers.worst:WorstMapper",
}
RESTORERS: Mapping[str, str] = {
    "embedded": "qrefine.models.restorers.embedded:EmbeddedRestorer",
    "classical": "qrefine.models.restorers.classical:ClassicalRestorer",
    "diffusers": "qrefine.models.diffusion.img2img:DiffusersRestorer",
    "diffusers_inpaint": "qrefine.models.diffusion.inpaint:NativeInpainter",
    "spandrel": "qrefine.models.restorers.spandrel:SpandrelRestorer",
}
# followed by the name of a metric
METRIC_PREFIX = "tiles:"
METRIC_MAPPER = "qrefine.models.mappers.tiles:TilesMapper"
METRIC_JUDGE = "qrefine.models.judges.metric:MetricJudge"
# need only torch and OpenCV, so checking them would only cost the import
ALWAYS_THERE = frozenset({"embedded", "classical", "piqe"})
JUDGES: Mapping[str, str] = {"piqe": "qrefine.models.judges.piqe:piqe_score"}
COMPARATORS: Mapping[str, str] = {"embedded": "qrefine.models.judges.comparator:EmbeddedComparator"}
DEFAULT_BOUNDS = Bounds()
_LOADING = RLock()  # one model at a time: libraries change torch's defaults while they load one
KNOWN = {"mapper": MAPPERS, "restorer": RESTORERS, "comparator": COMPARATORS, "judge": JUDGES}


def load_mapper(
    settings: MapperSettings, cache: dict[str, object] | None = None, bounds: Bounds = DEFAULT_BOUNDS
) -> Mapper:
    """The mapper that the settings name; ``cache`` shares it between stages of one process.

    ``bounds``: those of the settings, the scale on which several mappers are combined.
    """
    extra: dict[str, Any] = {"grid": settings.grid}
    if settings.name.startswith(METRIC_PREFIX):
        extra["metric"] = settings.name.removeprefix(METRIC_PREFIX)
    takes = inspect.signature(_find("mapper", settings.name)).parameters
    if "patch" in takes:
        extra["patch"] = settings.patch  # mappers without this parameter keep to the grid
    if "bounds" in takes:
        extra["bounds"] = bounds
    return _load("mapper", settings, cache, **extra)


def load_restorer(settings: Backend, cache: dict[str, object] | None = None) -> Restorer:
    """The inpainter or enhancer that the settings name; the same network serves both roles where it can."""
    return _load("restorer", settings, cache)


def draws_anew(settings: Backend) -> bool:
    """Whether a restorer draws instead of mending what it sees (see `OnePass`); nothing is loaded."""
    return not _always_there("restorer", settings.name) and not hasattr(
        _find("restorer", settings.name), "one_pass"
    )


def load_comparator(settings: Backend, cache: dict[str, object] | None = None) -> Comparator:
    """The judge of repairs that the settings name."""
    return _load("comparator", settings, cache)


def load_judge(name: str) -> Callable[[Image], float]:
    """A judge: one RGB image in, one score out."""
    judge = _find("judge", name)
    if not name.startswith(METRIC_PREFIX):
        return judge
    try:
        return judge(name.removeprefix(METRIC_PREFIX))
    except (ImportError, ValueError) as error:
        raise UserError(f"judge {name!r} cannot be loaded: {error}") from error


def check_backends(
    mapper: Backend, restorers: Sequence[Backend], judges: Sequence[str], comparator: Backend | None = None
) -> None:
    """Raises UserError for a name or a file that is not there or a wrong option, before any worker is started."""
    backends = [("mapper", mapper), *(("restorer", restorer) for restorer in restorers)]
    if comparator is not None:
        backends.append(("comparator", comparator))
    for kind, settings in backends:  # it grows by those that are named by others' options
        if settings.options or not _always_there(kind, settings.name):
            options = _check_options(kind, _find(kind, settings.name), settings)
            backends += options.backends()
        path = local_path(settings.weights) if settings.weights else None
        if path is not None and not path.exists():
            raise UserError(f"{kind} {settings.name!r}: its weights are not at {path.absolute()}")
    for judge in judges:
        if not _always_there("judge", judge):
            _find("judge", judge)


def options_of(name: str) -> list[type[Options]]:
    """The models of the options of all backends of this name; none where they take plain keyword arguments."""
    kinds = [kind for kind in ("mapper", "restorer", "comparator") if name in KNOWN[kind]]
    found = (_options_model(_find(kind, name)) for kind in kinds or ("mapper",))
    return [model for model in found if model is not None]


def _options_model(backend: Any) -> type[Options] | None:
    """The backend's ``Options``; None where its constructor takes keyword arguments that it declares itself.

    A subclass with a constructor of its own has no use for the options of its base.
    """
    for cls in getattr(backend, "__mro__", ()):
        if "Options" in vars(cls):
            model: type[Options] = cls.Options
            return model
        if "__init__" in vars(cls):
            break
    return None


def _always_there(kind: str, name: str) -> bool:
    return name in KNOWN[kind] and name in ALWAYS_THERE


def _check_options(kind: str, backend: Any, settings: Backend) -> Options:
    model = _options_model(backend)
    if model is None:
        return Options()
    try:
        return model.of(settings.options)
    except ValueError as error:
        raise UserError(f"{kind} {settings.name!r}: {error}") from error


def _load(kind: str, settings: Backend, cache: dict[str, object] | None, **extra: Any) -> Any:
    cache = {} if cache is None else cache
    options = {**settings.options, **extra}
    key = json.dumps([kind, settings.name, settings.weights, options], sort_keys=True, default=str)
    if key not in cache:
        backend = _find(kind, settings.name)
        _check_options(kind, backend, settings)
        try:
            with _LOADING:
                cache[key] = backend(weights=settings.weights, **options)
        except UserError:  # says all already
            raise
        except Exception as error:  # torch and safetensors raise their own classes
            raise UserError(f"{kind} {settings.name!r} cannot be loaded: {one_line(error)}") from error
    return cache[key]


def _find(kind: str, name: str) -> Any:
    known = KNOWN[kind]
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
    except Exception as error:  # importing foreign code may raise anything
        raise UserError(f"{kind} {name!r}: cannot import {module_name!r}: {one_line(error)}") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise UserError(f"{kind} {name!r}: {module_name} has no class or function {attribute!r}")
    return found
