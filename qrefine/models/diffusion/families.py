"""What each family of models is: its native sizes, its guidance, its text. Each value names its source.

A family is known by its pipelines' class name. Of models that are not listed here nothing is assumed: they get
their prompts as text, and the arguments that the settings name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Size = tuple[int, int]
"""(height, width) in pixels."""

UNET_ALIGN = 64  # pixels; U-Nets halve their latents three times
CFG = "guidance_scale"
TRUE_CFG = "true_cfg_scale"
CLIP_TOKENS = 77  # its encoders read no more; those of other encoders can be set
WIDE = (1.0, 9 / 7, 19 / 13, 7 / 4, 5 / 2)


def _plain(pipe: Any, prompt: str) -> tuple[str, int]:
    return prompt, 0


def _template(pipe: Any, prompt: str) -> tuple[str, int]:
    return pipe.prompt_template_encode.format(prompt), pipe.prompt_template_encode_start_idx


def _chat(pipe: Any, prompt: str) -> tuple[str, int]:
    message = [{"role": "user", "content": prompt}]
    text = pipe.tokenizer.apply_chat_template(
        message, tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    return text, 0


@dataclass(frozen=True)
class Family:
    """``outputs`` of encode_prompt, by their argument names in the pipeline's call; None: not passed.

    ``call``: arguments of the pipeline's call. ``guided_by``: the argument that, above ``unguided``, costs a
    second forward call in each step for the negative prompt. ``negative``: the negative prompt where none is set.
    ``tokens``: the tokenizers and how many tokens of a prompt their encoders read; the first one that is there
    counts. ``written``: what the tokenizer gets for a prompt, and how many tokens at its begin do not count.
    ``shapes``: aspect ratios, long by short side, of the images it was trained on. ``side``: its native
    size in pixels where the model's configuration does not tell it.
    """

    outputs: tuple[str | None, ...]
    call: Mapping[str, Any] = field(default_factory=dict)
    guided_by: str = CFG
    unguided: float = 1.0
    negative: str | None = None
    tokens: tuple[tuple[str, int], ...] = (("tokenizer", CLIP_TOKENS),)
    written: Callable[[Any, str], tuple[str, int]] = _plain
    shapes: tuple[float, ...] = WIDE
    side: int | None = None


_PAIR = ("prompt_embeds", "negative_prompt_embeds")
_POOLED = (*_PAIR, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")

FAMILIES: Mapping[str, Family] = {
    # guidance: example of StableDiffusionImg2ImgPipeline. Trained on squares alone (model card of v1-5)
    "StableDiffusion": Family(_PAIR, {CFG: 7.5}, shapes=(1.0,)),
    # guidance: default of StableDiffusionXLPipeline, whose example sets none. Shapes: arXiv 2307.01952, appendix I
    "StableDiffusionXL": Family(_POOLED, {CFG: 5.0}),
    # guidance: example on the model card of stable-diffusion-3-medium; img2img's default is the same
    "StableDiffusion3": Family(_POOLED, {CFG: 7.0}, tokens=(("tokenizer_3", 256), ("tokenizer", CLIP_TOKENS))),
    # guidance, distilled into the model: card of FLUX.1-dev, default of FluxPipeline; img2img's own is 7.0.
    # Where the settings ask for true guidance, it needs a negative prompt
    "Flux": Family(
        ("prompt_embeds", "pooled_prompt_embeds", None),
        {CFG: 3.5},
        TRUE_CFG,
        negative="",
        tokens=(("tokenizer_2", 512),),
    ),
    # no guidance at all, and text of 256 tokens: documentation of diffusers for FLUX.1-schnell
    "FluxSchnell": Family(
        ("prompt_embeds", "pooled_prompt_embeds", None),
        {"max_sequence_length": 256},
        TRUE_CFG,
        negative="",
        tokens=(("tokenizer_2", 256),),
    ),
    # guidance and negative prompt: card of Qwen-Image and example of QwenImageImg2ImgPipeline; without a negative
    # prompt true_cfg_scale does nothing. Side: the card's square. Tokens: default of encode_prompt; they include
    # the end of the template, but not its begin
    "QwenImage": Family(
        ("prompt_embeds", "prompt_embeds_mask"),
        {TRUE_CFG: 4.0},
        TRUE_CFG,
        negative=" ",
        tokens=(("tokenizer", 1024),),
        written=_template,
        side=1328,
    ),
    # guidance: example of ZImageImg2ImgPipeline, for the distilled Turbo. The undistilled model's card says 3 to
    # 5. Tokens: default of encode_prompt; they include the chat template
    "ZImage": Family(_PAIR, {CFG: 0.0}, unguided=0.0, tokens=(("tokenizer", 512),), written=_chat),
}


def family_of(pipe: Any) -> Family | None:
    """The family of a pipeline for any task; None for one that is not known."""
    name = type(pipe).__name__.removesuffix("Pipeline")
    for task in ("Img2Img", "Inpaint", "ControlNet"):
        name = name.removesuffix(task)
    if name == "Flux" and not denoiser(pipe).config.guidance_embeds:
        name = "FluxSchnell"
    return FAMILIES.get(name)


def denoiser(pipe: Any) -> Any:
    """The network that is called in each step."""
    return getattr(pipe, "unet", None) or pipe.transformer


def takes_a_mask(pipe: Any) -> bool:
    """Whether the network is made for inpainting: its input is the latents with a mask and the masked image."""
    unet = getattr(pipe, "unet", None)
    return unet is not None and unet.config.in_channels > pipe.vae.config.latent_channels


def latent_scale(pipe: Any) -> int:
    """Pixels along one side of a latent."""
    return int(pipe.vae_scale_factor)


def alignment(pipe: Any) -> int:
    """Sizes that the model takes are multiples of this many pixels."""
    return UNET_ALIGN if hasattr(pipe, "unet") else 2 * latent_scale(pipe)


def native_side(pipe: Any) -> int:
    """Side in pixels of the square images that the model was trained on."""
    family = family_of(pipe)
    if family is not None and family.side is not None:
        return family.side
    model = denoiser(pipe)
    latents: Any = getattr(model.config, "sample_size", None) or getattr(pipe, "default_sample_size", 128)
    return int(latents if isinstance(latents, int) else max(latents)) * latent_scale(pipe)


def native_sizes(pipe: Any) -> tuple[Size, ...]:
    """The model's aspect buckets: sizes of its native number of pixels, in the shapes that it was trained on."""
    family = family_of(pipe)
    return aspect_buckets(native_side(pipe), alignment(pipe), (1.0,) if family is None else family.shapes)


def aspect_buckets(side: int, align: int, shapes: tuple[float, ...]) -> tuple[Size, ...]:
    """Sizes of about side x side pixels in multiples of ``align``: each shape upright and flat.

    For 1024, 64 and the shapes of SDXL these are sizes of its training (arXiv 2307.01952, appendix I).
    """
    sizes = set()
    for shape in shapes:
        long = max(align, round(side * math.sqrt(shape) / align) * align)
        short = max(align, round(side * side / long / align) * align)
        if 0.8 < long * short / side**2 < 1.1:  # a small model's steps of ``align`` are coarse
            sizes |= {(long, short), (short, long)}
    return tuple(sorted(sizes)) or ((side, side),)


def scaled_sizes(side: int, align: int) -> tuple[Size, ...]:
    """For crops at the image's own resolution: squares of 1/2, 5/8, 3/4 and 1 of ``side``, its halves."""
    part = {share: max(align, round(side * share / align) * align) for share in (0.5, 0.625, 0.75, 1.0)}
    squares = {(s, s) for s in part.values()}
    return tuple(sorted(squares | {(part[0.5], part[1.0]), (part[1.0], part[0.5])}))


def like_native(size: Size, native: tuple[Size, ...]) -> Size:
    """The native size of the nearest shape: what a model that asks for sizes is told (SDXL's time ids)."""
    shape = math.log(size[0] / size[1])
    return size if size in native else min(native, key=lambda one: (abs(math.log(one[0] / one[1]) - shape), one))
