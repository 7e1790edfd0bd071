"""What is added to a loaded model: LoRAs, fused into its weights once, and a ControlNet beside its U-Net.

Weights are read from safetensors files only. Errors are one line that says which adapter, and why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoPipelineForImage2Image, ControlNetModel

from qrefine.errors import one_line
from qrefine.models.diffusion.options import Control, Lora
from qrefine.models.locate import is_hub_id, model_source


def fuse_loras(pipe: Any, loras: Sequence[Lora]) -> None:
    """Add the LoRAs to the weights, each times its scale; the networks have their own shapes again afterwards.

    Raises ValueError for a LoRA that is missing or that fits none of the model's networks.
    """
    if not loras:
        return
    if not hasattr(pipe, "load_lora_weights"):
        raise ValueError(f"loras: {type(pipe).__name__} takes none")
    names = [f"lora_{i}" for i in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        _load(pipe, name, lora)
    pipe.set_adapters(names, [lora.scale for lora in loras])
    pipe.fuse_lora(adapter_names=names)
    pipe.unload_lora_weights()


def _load(pipe: Any, name: str, lora: Lora) -> None:
    path = Path(lora.weights).expanduser()
    hub = is_hub_id(lora.weights)
    found = path / lora.file if lora.file and path.is_dir() else path
    if not hub and not found.exists():
        raise ValueError(f"LoRA: no file {found.absolute()}")
    try:
        pipe.load_lora_weights(
            lora.weights if hub else str(path),
            adapter_name=name,
            weight_name=lora.file if hub or path.is_dir() else None,
            revision=lora.revision,
            use_safetensors=True,
            local_files_only=not hub,
        )
        fits = any(name in adapters for adapters in pipe.get_list_adapters().values())
        reason = "none of its weights is for these networks"
    except Exception as error:  # diffusers, peft, the hub and safetensors raise their own classes
        fits, reason = False, one_line(error)
    if not fits:
        raise ValueError(f"LoRA {lora.weights} does not fit {type(pipe).__name__}: {reason}")


def add_control(pipe: Any, control: Control, device: torch.device, dtype: torch.dtype) -> Any:
    """An image-to-image pipeline with a ControlNet over the networks of ``pipe``.

    Raises ValueError for a family without a U-Net, and for a ControlNet of another family.
    """
    name = type(pipe).__name__
    if not hasattr(pipe, "unet"):
        raise ValueError(f"controlnet: {name} has no U-Net; ControlNets are for Stable Diffusion and SDXL")
    source = model_source(control.weights, "config.json", "a ControlNet")
    try:
        network = ControlNetModel.from_pretrained(
            source,
            torch_dtype=dtype,
            revision=control.revision,
            variant=control.variant,
            use_safetensors=True,
            local_files_only=Path(source).is_dir(),
        ).to(device)
    except Exception as error:  # as above
        raise ValueError(f"{source} is no ControlNet of diffusers: {one_line(error)}") from error
    for key in ("cross_attention_dim", "addition_embed_type", "block_out_channels"):
        own, needed = network.config.get(key), pipe.unet.config.get(key)
        if _as_in_a_file(own) != _as_in_a_file(needed):
            raise ValueError(f"ControlNet {source} is not for {name}: its {key} is {own}, not {needed}")
    return AutoPipelineForImage2Image.from_pipe(pipe, controlnet=network, scheduler=pipe.scheduler)


def _as_in_a_file(value: Any) -> Any:
    """A configuration's value as JSON has it: a model that was made in Python says tuple for list."""
    return list(value) if isinstance(value, tuple) else value
