"""Pipelines from a local folder or a hub id; tasks with the same weights share components.

A folder is read without network access. Weights are read from safetensors files only, and code beside them is not
run. Errors are one line that says what was looked for and where.
"""

from __future__ import annotations

import copy
import inspect
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

try:
    import diffusers
    from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, DiffusionPipeline
except ImportError as error:
    raise ImportError(f"{error}: pip install 'qrefine[diffusion]'") from error

from qrefine.errors import one_line
from qrefine.models.diffusion.adapters import fuse_loras
from qrefine.models.diffusion.options import Lora
from qrefine.models.locate import model_source

INDEX = "model_index.json"
TASKS = {"image-to-image": AutoPipelineForImage2Image, "inpainting": AutoPipelineForInpainting}


class _Loaded(threading.local):
    """What this thread has loaded. Tokenizers and some VAEs keep state in a call, so threads share no pipeline."""

    def __init__(self) -> None:
        self.pipelines: WeakValueDictionary[tuple[Any, ...], DiffusionPipeline] = WeakValueDictionary()
        self.schedulers: dict[tuple[Any, ...], Any] = {}  # as loaded: users of a pipeline change their own copy


_loaded = _Loaded()


def load_pipeline(
    weights: str | None,
    task: str,
    *,
    device: torch.device,
    dtype: torch.dtype,
    revision: str | None = None,
    variant: str | None = None,
    loras: Sequence[Lora] = (),
) -> DiffusionPipeline:
    """A pipeline for ``task`` (a key of TASKS) with its own scheduler, the ``loras`` fused into its weights.

    A second pipeline of this thread with the same weights shares the networks of the first. Raises ValueError with
    one line.
    """
    source = model_source(weights, INDEX, "a model of diffusers")
    key = (source, revision, variant, str(device), str(dtype), tuple(loras))
    base = _loaded.pipelines.get(key)
    try:
        if base is None:
            pipe = TASKS[task].from_pretrained(
                source,
                torch_dtype=dtype,
                revision=revision,
                variant=variant,
                use_safetensors=True,
                local_files_only=Path(source).is_dir(),
            )
            pipe.to(device)
        else:
            pipe = TASKS[task].from_pipe(base, scheduler=_loaded.schedulers[key])
    except Exception as error:  # diffusers, transformers, the hub and safetensors raise their own classes
        raise ValueError(f"{_where(source)} is no {task} model of diffusers: {one_line(error)}") from error
    if base is None:
        fuse_loras(pipe, loras)
        _loaded.pipelines[key], _loaded.schedulers[key] = pipe, pipe.scheduler
    return prepare(pipe)


def prepare(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """No progress bar, safety checker or watermark; its own copy of the scheduler; images decoded one by one.

    Its module says in every call what it makes of the arguments; we say what matters, once.
    """
    pipe.set_progress_bar_config(disable=True)
    logging.getLogger(type(pipe).__module__).setLevel(logging.ERROR)
    if hasattr(pipe.vae, "enable_slicing"):  # decoding takes the most memory, and a batch is no faster
        pipe.vae.enable_slicing()
    pipe.scheduler = copy.deepcopy(pipe.scheduler)
    if getattr(pipe, "safety_checker", None) is not None:
        pipe.safety_checker = None
    if getattr(pipe, "watermark", None) is not None:
        pipe.watermark = None
    if getattr(pipe.vae.config, "force_upcast", False) and pipe.vae.dtype != torch.float16:
        pipe.vae.register_to_config(force_upcast=False)  # float16 overflows there; bfloat16 does not
    return pipe


def pick_scheduler(pipe: DiffusionPipeline, name: str | None, changes: Mapping[str, Any] | None = None) -> Any:
    """The pipeline's scheduler, or the named class of diffusers with that scheduler's configuration.

    ``changes``: settings of the scheduler. Raises ValueError for one that it does not have, and for a scheduler
    that lacks what the pipeline calls: those of flow matching and of the others do not replace each other.
    """
    if name is None and not changes:
        return pipe.scheduler
    cls = type(pipe.scheduler) if name is None else getattr(diffusers, name, None)
    if cls is None or not hasattr(cls, "set_timesteps"):
        raise ValueError(f"scheduler {name!r} is no scheduler of diffusers {diffusers.__version__}")
    for method in ("add_noise", "scale_noise"):
        if hasattr(pipe.scheduler, method) and not hasattr(cls, method):
            raise ValueError(f"scheduler {cls.__name__} is not for {type(pipe).__name__}: it has no {method}")
    known = inspect.signature(cls.__init__).parameters
    for change in changes or {}:
        if change not in known or change == "self":
            raise ValueError(f"scheduler_config: {cls.__name__} has no {change!r}")
    return remade(cls, pipe.scheduler, changes)


def remade(cls: Any, scheduler: Any, changes: Mapping[str, Any] | None = None) -> Any:
    """A scheduler of class ``cls`` with the settings of ``scheduler`` that ``cls`` accepts; others are dropped."""
    known = inspect.signature(cls.__init__).parameters
    config = {k: v for k, v in scheduler.config.items() if k in known or k.startswith("_")}
    return cls.from_config({**config, **(changes or {})})


def _where(source: str) -> str:
    return source if Path(source).is_dir() else f"hub model {source}"
