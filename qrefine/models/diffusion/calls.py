"""How a pipeline is called for images of a size: the sizes it takes, its guidance, its text, its schedule."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from qrefine.models.diffusion.families import (
    Size,
    alignment,
    denoiser,
    family_of,
    like_native,
    native_side,
    native_sizes,
    scaled_sizes,
)
from qrefine.models.diffusion.levels import levels_of
from qrefine.models.diffusion.options import DiffusionOptions
from qrefine.models.diffusion.text import NEGATIVE, Embedding, PromptEncoder, collate
from qrefine.quality.map import Image

CONTEXT_SHARE = 16  # the default context of a crop is 1/16 of the model's native size
OURS = frozenset(
    (
        "image", "mask_image", "masked_image_latents", "padding_mask_crop", "control_image", "strength",
        "num_inference_steps", "timesteps", "sigmas", "denoising_start", "denoising_end", "generator",
        "output_type", "return_dict", "latents", "image_latents", "height", "width", "num_images_per_prompt",
        "controlnet_conditioning_scale", "control_guidance_end",
    )
)  # fmt: skip
"""Arguments of calls that are set here; those of a name in `OUR_KINDS` are, too."""
OUR_KINDS = ("prompt", "negative_prompt", "pooled_prompt", "negative_pooled_prompt", "callback", "ip_adapter")
OF_TEXT = ("max_sequence_length", "clip_skip")  # embeddings are made before the call


class Calls:
    """How a pipeline is called for images of a size: its family's guidance, sizes and schedule.

    ``given``: the settings; ``pipe`` has its scheduler. Raises ValueError for arguments that it does not take.
    """

    def __init__(self, pipe: Any, given: DiffusionOptions) -> None:
        self.pipe, self.steps = pipe, given.steps
        self.parameters = inspect.signature(pipe.__call__).parameters
        family = family_of(pipe)
        self.call = {**(family.call if family else {}), **checked_call(pipe, given.call)}
        self._off: dict[str, Any] = {}  # what turns guidance off
        guided = True
        if family and not _distilled(pipe) and family.guided_by in self.parameters:
            self._off = {family.guided_by: family.unguided}
            guided = self.call.get(family.guided_by, family.unguided) > family.unguided
        encoding = {name: self.call[name] for name in OF_TEXT if name in self.call}
        self.text = PromptEncoder(pipe, given.negative_prompt, given.prompts_kept, guided, encoding)
        self.native = native_sizes(pipe)
        self._levels: dict[Size, tuple[float, ...]] = {}

    def arguments(self, size: Size, texts: Sequence[Embedding]) -> dict[str, Any]:
        """Of the call, for a batch of one size: all but images, strength and generator."""
        sides = zip(("height", "width"), size, strict=True)
        found: dict[str, Any] = {name: side for name, side in sides if name in self.parameters}
        if "original_size" in self.parameters:  # SDXL: "this is a large picture, and all of it"
            told = like_native(size, self.native)
            found |= {"original_size": told, "target_size": told}
        found |= self.call
        if not any(name.startswith(NEGATIVE) for name in texts[0]):
            found |= self._off  # once per step
        return {**found, "num_inference_steps": self.steps, "output_type": "pt", **collate(texts)}

    def levels(self, size: Size) -> tuple[float, ...]:
        """The noise levels of 0, 1, ... ``steps`` remaining steps for images of this size (see `levels_of`)."""
        if size not in self._levels:
            blank: dict[str, Any] = {"image": torch.zeros(1, 3, *size, device=self.pipe.device)}
            for name, channels in (("mask_image", 1), ("control_image", 3)):
                if name in self.parameters:
                    blank[name] = torch.zeros(1, channels, *size)
            arguments = self.arguments(size, [self.text("")])
            self._levels[size] = levels_of(
                self.pipe, self.steps, lambda: self.pipe(strength=1.0, **blank, **arguments)
            )
        return self._levels[size]


def buckets_of(pipe: Any, given: DiffusionOptions) -> tuple[Size, ...]:
    """Sizes of crops: the configured ones, the model's native ones, or smaller ones for the image's resolution."""
    align = alignment(pipe)
    if given.buckets is None:
        return native_sizes(pipe) if given.crop_area == "native" else scaled_sizes(native_side(pipe), align)
    return checked_buckets(given, align)


def checked_buckets(given: DiffusionOptions, align: int) -> tuple[Size, ...]:
    """The configured buckets; raises ValueError for one that the model cannot take."""
    for bucket in given.buckets or ():
        if any(side < align or side % align for side in bucket):
            raise ValueError(f"bucket {list(bucket)}: expected [height, width] in multiples of {align} pixels")
    return given.buckets or ()


def context_of(pipe: Any, given: DiffusionOptions) -> int:
    """Pixels that a crop shows around its defect: the option, or a share of the model's native size."""
    return native_side(pipe) // CONTEXT_SHARE if given.context is None else given.context


def aligned(size: tuple[int, ...], align: int) -> Size:
    """The size that `padded` pads to."""
    return size[0] + -size[0] % align, size[1] + -size[1] % align


def padded(image: Image, plane: np.ndarray, align: int) -> tuple[Image, np.ndarray]:
    """Pads to multiples of ``align`` at the bottom and the right with repeated pixels, and the plane with 0."""
    below, right = (-side % align for side in plane.shape)
    if not below and not right:
        return image, plane
    return (
        np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge"),
        np.pad(plane, ((0, below), (0, right))),
    )


def checked_call(pipe: Any, call: Mapping[str, Any]) -> dict[str, Any]:
    """Further arguments of the pipeline's call; raises ValueError for unknown ones and those that we set."""
    known = set(inspect.signature(pipe.__call__).parameters) - OURS
    for name in call:
        if name not in known or name.startswith(OUR_KINDS):
            raise ValueError(f"call: {type(pipe).__name__} takes no {name!r} from the configuration")
    return dict(call)


def _distilled(pipe: Any) -> bool:
    """Whether guidance is an input of the U-Net, as in models of latent consistency: one call per step anyway."""
    return denoiser(pipe).config.get("time_cond_proj_dim") is not None
