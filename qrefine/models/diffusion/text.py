"""Prompt embeddings: each prompt is encoded once, alone, and cached.

Encoded alone, an embedding does not depend on the batch; cached, all crops and stages of a sample cost one pass of
the text encoders. Embeddings of different length are padded to a multiple of LENGTH_STEP, and only embeddings of
equal length share a batch, for the same reason.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline

LENGTH_STEP = 64
NEGATIVE = "negative_"

# outputs of encode_prompt, by their argument names in the pipeline's call; None: not passed
OUTPUTS: dict[str, tuple[str | None, ...]] = {
    "StableDiffusion": ("prompt_embeds", "negative_prompt_embeds"),
    "StableDiffusionXL": (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    "StableDiffusion3": (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
    "Flux": ("prompt_embeds", "pooled_prompt_embeds", None),
    "QwenImage": ("prompt_embeds", "prompt_embeds_mask"),
    "ZImage": ("prompt_embeds", "negative_prompt_embeds"),
}

Embedding = dict[str, Any]
"""Arguments of the pipeline's call for one prompt: tensors with a batch axis of 1, lists of one, or strings."""


class PromptEncoder:
    """Embeddings by prompt, the last ``kept`` cached on the device.

    Pipelines that are not in OUTPUTS get the strings and embed them in each call.
    """

    def __init__(self, pipe: DiffusionPipeline, negative: str | None = None, kept: int = 128) -> None:
        self.pipe = pipe
        self.negative = negative
        self.kept = max(1, kept)
        family = type(pipe).__name__.removesuffix("Pipeline").removesuffix("Img2Img").removesuffix("Inpaint")
        self.outputs = OUTPUTS.get(family)
        self._parameters = inspect.signature(pipe.encode_prompt).parameters if self.outputs else {}
        self._accepted = set(inspect.signature(pipe.__call__).parameters)
        self._cache: OrderedDict[str, Embedding] = OrderedDict()
        self._shared: Embedding | None = None  # shared by all prompts: the negative embeddings

    def __call__(self, prompt: str) -> Embedding:
        if prompt in self._cache:
            self._cache.move_to_end(prompt)
            return self._cache[prompt]
        embedding = self._embed(prompt)
        self._cache[prompt] = embedding
        if len(self._cache) > self.kept:
            self._cache.popitem(last=False)
        return embedding

    def _embed(self, prompt: str) -> Embedding:
        if self.outputs is None:
            negative = {} if self.negative is None else {"negative_prompt": self.negative}
            return {"prompt": prompt, **{k: v for k, v in negative.items() if k in self._accepted}}
        with torch.no_grad():
            if self._shared is None:
                self._shared = self._negative_side()
            own = self._encode(prompt, guidance=False)
        return {**own, **self._shared}

    def _negative_side(self) -> Embedding:
        if "do_classifier_free_guidance" in self._parameters:
            both = self._encode("", guidance=True)
            return {name: value for name, value in both.items() if name.startswith(NEGATIVE)}
        if self.negative is None:
            return {}
        own = self._encode(self.negative, guidance=False)
        return {NEGATIVE + name: value for name, value in own.items() if NEGATIVE + name in self._accepted}

    def _encode(self, prompt: str, guidance: bool) -> Embedding:
        offered = {
            "prompt": [prompt],
            "prompt_2": None,
            "prompt_3": None,
            "device": self.pipe.device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": guidance,
            "negative_prompt": [self.negative] if guidance and self.negative is not None else None,
        }
        values = self.pipe.encode_prompt(**{k: v for k, v in offered.items() if k in self._parameters})
        named = zip(self.outputs or (), values, strict=True)
        found = {k: value for k, value in named if k in self._accepted and value is not None and len(value)}
        if "prompt_embeds_mask" in (self.outputs or ()):
            found = _padded(found["prompt_embeds"], found.get("prompt_embeds_mask"))
        return found


def _padded(embeds: torch.Tensor, mask: torch.Tensor | None) -> Embedding:
    """(1, L, d) and (1, L) to the next larger multiple of LENGTH_STEP, so that no mask is all ones.

    A pipeline drops a mask of ones, and a sample's result would then depend on the lengths of the others.
    """
    mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device) if mask is None else mask
    missing = LENGTH_STEP - embeds.shape[1] % LENGTH_STEP
    return {
        "prompt_embeds": torch.nn.functional.pad(embeds, (0, 0, 0, missing)),
        "prompt_embeds_mask": torch.nn.functional.pad(mask, (0, missing)),
    }


def shape_key(embedding: Embedding) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Embeddings with equal keys may share a batch without changing each other's results."""

    def shape(value: Any) -> tuple[int, ...]:
        if isinstance(value, torch.Tensor):
            return tuple(value.shape)
        if isinstance(value, list):  # Z-Image pads its sequences to multiples of 32, then to the longest
            return (-(-value[0].shape[0] // 32),)
        return ()

    return tuple((name, shape(value)) for name, value in sorted(embedding.items()))


def collate(embeddings: Sequence[Embedding]) -> dict[str, Any]:
    """The call's arguments for a batch of embeddings that share their `shape_key`."""

    def join(values: list[Any]) -> Any:
        if isinstance(values[0], torch.Tensor):
            return torch.cat(values)
        if isinstance(values[0], list):
            return [item for value in values for item in value]
        return values

    return {name: join([embedding[name] for embedding in embeddings]) for name in embeddings[0]}
