"""Prompt embeddings: each prompt is encoded once, alone, and cached.

Encoded alone, an embedding does not depend on the batch; cached, all crops and stages of a sample cost one pass of
the text encoders. Embeddings of different length are padded to a multiple of LENGTH_STEP, and only embeddings of
equal length share a batch, for the same reason.
"""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline

from qrefine.models.diffusion.families import CLIP_TOKENS, family_of

LENGTH_STEP = 64
NEGATIVE = "negative_"
TOO_LONG = "sequence-length-is-longer-than-the-specified-maximum"  # a warning of transformers
MOST_CHARS = 16_384  # of a prompt; no encoder reads as many

log = logging.getLogger(__name__)

Embedding = dict[str, Any]
"""Arguments of the pipeline's call for one prompt: tensors with a batch axis of 1, lists of one, or strings."""


class PromptEncoder:
    """Embeddings by prompt, the last ``kept`` cached on the device.

    An empty prompt has no negative side: there is nothing to guide to, and guidance would cost a second forward
    call in each step. ``guided``: whether the pipeline's call guides at all. ``encoding``: further arguments of
    encode_prompt. Pipelines of no known family get the strings and embed them in each call.

    What a prompt has beyond the tokens that the model reads is cut; ``cut`` counts such prompts, and the first
    one is reported.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        negative: str | None = None,
        kept: int = 128,
        guided: bool = True,
        encoding: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipe, self.encoding = pipe, dict(encoding or {})
        self.family = family_of(pipe)
        own = self.family.negative if self.family else None
        self.negative = own if negative is None else negative
        self.kept, self.guided = max(1, kept), guided
        self.cut = 0
        self.outputs = self.family.outputs if self.family else None
        self._parameters = inspect.signature(pipe.encode_prompt).parameters if self.outputs else {}
        self._accepted = set(inspect.signature(pipe.__call__).parameters)
        for part in pipe.components.values():  # tokenizers warn of what `_report` says
            getattr(part, "deprecation_warnings", {})[TOO_LONG] = True
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

    def tokens(self, prompt: str) -> tuple[int, int]:
        """How many tokens of a prompt the model reads, and how many there are; (0, 0) where that is not known.

        With those of the model's template where they take the place of the prompt's. Of a prompt of more than
        MOST_CHARS characters only so many are counted.
        """
        if self.family is None:
            return 0, 0
        for name, limit in self.family.tokens:
            if (tokenizer := getattr(self.pipe, name, None)) is not None:
                if limit > CLIP_TOKENS:
                    limit = self.encoding.get("max_sequence_length", limit)
                text, uncounted = self.family.written(self.pipe, prompt[:MOST_CHARS])
                count = len(tokenizer(text, truncation=False).input_ids) - uncounted
                return min(count, limit), count
        return 0, 0

    def _embed(self, prompt: str) -> Embedding:
        self._report(prompt)
        prompt = prompt[:MOST_CHARS]
        if self.outputs is None:
            negative = {} if self.negative is None else {"negative_prompt": self.negative}
            return {"prompt": prompt, **{k: v for k, v in negative.items() if k in self._accepted}}
        with torch.no_grad():
            own = self._encode(prompt, guidance=False)
            if not self.guided or not prompt.strip():
                return own
            if self._shared is None:
                self._shared = self._negative_side()
        return {**own, **self._shared}

    def _report(self, prompt: str) -> None:
        kept, count = self.tokens(prompt)
        if count <= kept and len(prompt) <= MOST_CHARS:
            return
        self.cut += 1
        if self.cut == 1:
            name = type(self.pipe).__name__
            log.warning(
                "%s reads the first %d tokens of a prompt: one of %d characters is cut, and so will others be",
                name, kept, len(prompt),
            )  # fmt: skip

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
            **self.encoding,
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
