"""CLIP with learned prompts: the perceptual quality map that the authors of Q-Refine and G-Refine released.

Two learned prompts, high and low quality, are compared with CLIP's image tokens. The last blocks of the image
encoder use consistent self-attention, values to values without the MLP (Li et al., CLIP Surgery, arXiv
2304.05653), which keeps a token's features local. The class token takes the ordinary path and gives the score.

This differs from the released script in two points, on purpose. The script divides all three dimension scores by
the bound of the technical one; here each has its own bound. And its map spans [0, 1] in every image; here the map
is anchored at the score, so that Avg(Q) = q (equation 2) and bounds mean the same in every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

try:
    from transformers import CLIPModel
except ImportError as error:
    raise ImportError(f"{error}: pip install 'qrefine[diffusion]'") from error

from qrefine.errors import one_line
from qrefine.models.device import pick_batch, pick_device
from qrefine.models.locate import model_source
from qrefine.models.memory import FittingBatches
from qrefine.models.options import BatchOptions, Options
from qrefine.models.weights import read_checkpoint
from qrefine.quality.map import Image, QualityMap

WHAT = "learned prompts (params: prompt_learner.ctx, .token_prefix, .token_suffix)"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's pixel statistics
STD = (0.26862954, 0.26130258, 0.27577711)
NAME_TOKENS = 3  # the class's name stands in the middle of the learned context
HIGH = 0  # row of the prompt for high quality
CONSISTENT_BLOCKS = 6
GPU_BATCH = 32
# mean preference on the AGIN database times the weight that the authors give the dimension
BOUNDS = {"technical": 0.935 * 1.0, "rational": 0.892 * 0.6, "natural": 0.826 * 0.8}


class Prompts(Options):
    """Files with learned prompts per dimension; the last three lower the score if below their bounds."""

    overall: str
    technical: str | None = None
    rational: str | None = None
    natural: str | None = None


class PqOptions(BatchOptions):
    prompts: Prompts = Field(description="files: overall, and any of technical, rational, natural")


class PqMapper:
    """Quality maps from CLIP and learned prompts.

    ``weights``: a folder with CLIP in the layout of ``transformers`` (the authors': ViT-B/16), or a hub id. Images
    are resized to CLIP's square input size, as the authors do.
    """

    Options = PqOptions

    def __init__(self, weights: str | None = None, grid: int = 16, **options: Any) -> None:
        given = self.Options.of(options)
        self.grid = grid
        self.device = pick_device(given.device)
        self.batches = FittingBatches(pick_batch(given.batch_size, self.device, GPU_BATCH))
        self.clip = _load_clip(weights).eval().to(self.device)
        prompts = given.prompts.model_dump(exclude_none=True).items()
        with torch.no_grad():
            self.text = {name: self._encode_prompts(read_checkpoint(path, WHAT), path) for name, path in prompts}

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        return self.batches.map(images, self._maps)

    @torch.no_grad()
    def _maps(self, images: Sequence[Image]) -> list[QualityMap]:
        side = self.clip.config.vision_config.image_size
        pixels = np.stack([_square(image, side) for image in images])
        x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float().div(255).contiguous()
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (MEAN, STD))
        tokens = image_tokens(self.clip, (x - mean) / std, CONSISTENT_BLOCKS)
        tokens = tokens / tokens.norm(dim=1, keepdim=True)  # over the tokens, as released
        scores = {name: softmax_score(tokens[:, 0], text) for name, text in self.text.items()}
        q = scores["overall"].clone()
        for name, bound in BOUNDS.items():
            if name in scores:
                q = q * (scores[name] / bound).clamp(max=1)
        similarity = relative_map(tokens[:, 1:] @ self.text["overall"][HIGH])
        grids = F.interpolate(similarity[:, None], (self.grid, self.grid), mode="bilinear", align_corners=False)
        values = anchored(grids[:, 0], q).cpu().numpy()
        return [QualityMap(value) for value in values]

    def _encode_prompts(self, found: Any, path: str) -> Tensor:
        """(2, d) text features of the learned prompts, from the file's token embeddings."""
        params = found.get("params", found) if isinstance(found, dict) else {}
        try:
            context, prefix, suffix = (
                params[f"prompt_learner.{name}"].float() for name in ("ctx", "token_prefix", "token_suffix")
            )
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} holds no {WHAT}") from error
        embeddings, end = assemble_prompt(context, prefix, suffix)
        expected = self.clip.text_model.embeddings.position_embedding.weight.shape
        if embeddings.shape[1:] != expected:
            raise ValueError(
                f"{path}: its prompts are {tuple(embeddings.shape[1:])} tokens, those of {self.clip.name_or_path}"
                f" {tuple(expected)}"
            )
        return text_features(self.clip, embeddings.to(self.device), end)


def assemble_prompt(context: Tensor, prefix: Tensor, suffix: Tensor) -> tuple[Tensor, int]:
    """Token embeddings (2, length, d) and the position of the end token, whose features represent the prompt.

    The learned context is split in halves around the class's name: start, half, name, half, end, padding.
    """
    if context.ndim == 2:  # one context for both classes
        context = context.expand(len(prefix), -1, -1)
    half = context.shape[1] // 2
    parts = [prefix, context[:, :half], suffix[:, :NAME_TOKENS], context[:, half:], suffix[:, NAME_TOKENS:]]
    return torch.cat(parts, dim=1), prefix.shape[1] + context.shape[1] + NAME_TOKENS


def text_features(clip: Any, embeddings: Tensor, end: int) -> Tensor:
    """(B, d) features of token embeddings (B, length, width) at position ``end``, with CLIP's causal attention."""
    model = clip.text_model
    x = embeddings + model.embeddings.position_embedding.weight
    for block in model.encoder.layers:
        x = x + _attend(block.self_attn, block.layer_norm1(x), causal=True)[0]
        x = x + block.mlp(block.layer_norm2(x))
    features: Tensor = clip.text_projection(model.final_layer_norm(x)[:, end])
    return features


def image_tokens(clip: Any, pixels: Tensor, consistent: int) -> Tensor:
    """(B, 1 + patches, d): the class token by ordinary attention, the patches by consistent self-attention.

    ``pixels``: (B, 3, side, side), normalised. The last ``consistent`` blocks have two paths; the path of the
    patches uses attention of values to values and skips the MLP.
    """
    model = clip.vision_model
    x = model.pre_layrnorm(model.embeddings(pixels))
    blocks = model.encoder.layers
    patches = x
    for i, block in enumerate(blocks):
        ordinary, consistently = _attend(block.self_attn, block.layer_norm1(x))
        if i >= len(blocks) - consistent:
            patches = patches + consistently
        x = x + ordinary
        x = x + block.mlp(block.layer_norm2(x))
        if i < len(blocks) - consistent:
            patches = x
    tokens = torch.cat([x[:, :1], patches[:, 1:]], dim=1)
    projected: Tensor = clip.visual_projection(model.post_layernorm(tokens))
    return projected


def _attend(attention: Any, x: Tensor, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Ordinary self-attention, and attention of values to values; both through the output projection."""
    batch, length, width = x.shape
    q, k, v = (
        project(x).view(batch, length, attention.num_heads, -1).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    ordinary = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    consistent = F.scaled_dot_product_attention(v, v, v)
    join = (one.transpose(1, 2).reshape(batch, length, width) for one in (ordinary, consistent))
    first, second = (attention.out_proj(one) for one in join)
    return first, second


def softmax_score(token: Tensor, text: Tensor) -> Tensor:
    """(B,) probability of the prompt for high quality, from class tokens (B, d) and prompts (2, d)."""
    return (token @ text.T).softmax(dim=-1)[:, HIGH]


def relative_map(similarity: Tensor) -> Tensor:
    """(B, side, side) in [0, 1] from similarities (B, side * side): scaled by each image's lowest and highest."""
    low, high = similarity.amin(1, keepdim=True), similarity.amax(1, keepdim=True)
    side = int(similarity.shape[1] ** 0.5)
    return ((similarity - low) / (high - low).clamp(min=1e-12)).view(-1, side, side)


def anchored(grid: Tensor, q: Tensor) -> Tensor:
    """Q with Avg(Q) = q: the relative map shifted to the score, with as much contrast as [0, 1] allows."""
    mean = grid.mean(dim=(1, 2))
    contrast = torch.minimum(q / mean.clamp(min=1e-6), (1 - q) / (1 - mean).clamp(min=1e-6)).clamp(0, 1)
    return (q[:, None, None] + contrast[:, None, None] * (grid - mean[:, None, None])).clamp(0, 1)


def _square(image: Image, side: int) -> np.ndarray:
    resized = PIL.Image.fromarray(image).resize((side, side), PIL.Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _load_clip(weights: str | None) -> Any:
    source = model_source(weights, "config.json", "a CLIP model of transformers")
    try:
        return CLIPModel.from_pretrained(source, local_files_only=Path(source).is_dir(), use_safetensors=True)
    except Exception as error:  # transformers, the hub and safetensors raise their own classes
        raise ValueError(f"{source} is no CLIP model of transformers: {one_line(error)}") from error
