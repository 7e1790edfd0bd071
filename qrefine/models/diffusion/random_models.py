"""Diffusion models of real size with random weights, for benchmarks: compute does not depend on the weights.

The configurations are those of the public models' config.json files; ``tiny`` keeps the structure. Tokenizers
know letters only, which changes no shape. Z-Image's text encoder has few layers: a prompt is encoded once.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
)

SIDES = {"sdxl": 1024, "sd15": 512, "zimage": 1024}  # pixels
TINY_SIDE = 128


def random_pipeline(
    name: str, device: torch.device, dtype: torch.dtype, *, tiny: bool = False
) -> DiffusionPipeline:
    """``sdxl``, ``sd15`` or ``zimage`` with random weights on the device; raises ValueError for another name."""
    if name not in SIDES:
        raise ValueError(f"model {name!r} is none of {', '.join(SIDES)}")
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # 3.5 billion weights are made once, in their final dtype
    try:
        with device:
            pipe = {"sdxl": _sdxl, "sd15": _sd15, "zimage": _zimage}[name](tiny)
    finally:
        torch.set_default_dtype(default)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _scheduler() -> EulerDiscreteScheduler:
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    with torch.device("cpu"):  # its tables belong there
        return EulerDiscreteScheduler(**betas, steps_offset=1, timestep_spacing="leading")


def _tokenizer() -> CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz,."
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def _text(width: int, layers: int, heads: int, projection: int | None = None, act: str = "quick_gelu") -> Any:
    ends = {"bos_token_id": 56, "eos_token_id": 57, "pad_token_id": 57}
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=projection or width,
        hidden_act=act,
        **ends,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def _vae(scaling_factor: float, tiny: bool, **config: Any) -> AutoencoderKL:
    channels = (8, 8, 16, 16) if tiny else (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1 if tiny else 2,
        norm_num_groups=4 if tiny else 32,
        sample_size=TINY_SIDE if tiny else 512,
        scaling_factor=scaling_factor,
        force_upcast=False,
        **{"latent_channels": 4, **config},
    ).eval()


def _sdxl(tiny: bool) -> DiffusionPipeline:
    widths = (16, 16) if tiny else (768, 1280)
    unet = UNet2DConditionModel(
        sample_size=TINY_SIDE // 8 if tiny else 128,
        block_out_channels=(8, 16, 16) if tiny else (320, 640, 1280),
        layers_per_block=1 if tiny else 2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2) if tiny else (1, 2, 10),
        attention_head_dim=(2, 4, 4) if tiny else (5, 10, 20),
        cross_attention_dim=sum(widths),
        norm_num_groups=4 if tiny else 32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8 if tiny else 256,
        projection_class_embeddings_input_dim=6 * (8 if tiny else 256) + widths[1],
    ).eval()
    return StableDiffusionXLPipeline(
        vae=_vae(0.13025, tiny),
        text_encoder=_text(widths[0], *((2, 2) if tiny else (12, 12))),
        text_encoder_2=_text(widths[1], *((2, 2) if tiny else (32, 20)), projection=widths[1], act="gelu"),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=unet,
        scheduler=_scheduler(),
        add_watermarker=False,
    )


def _sd15(tiny: bool) -> DiffusionPipeline:
    width = 16 if tiny else 768
    unet = UNet2DConditionModel(
        sample_size=TINY_SIDE // 8 if tiny else 64,
        block_out_channels=(8, 16, 16, 16) if tiny else (320, 640, 1280, 1280),
        layers_per_block=1 if tiny else 2,
        attention_head_dim=2 if tiny else 8,
        cross_attention_dim=width,
        norm_num_groups=4 if tiny else 32,
    ).eval()
    return StableDiffusionPipeline(
        vae=_vae(0.18215, tiny),
        text_encoder=_text(width, *((2, 2) if tiny else (12, 12))),
        tokenizer=_tokenizer(),
        unet=unet,
        scheduler=_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _zimage(tiny: bool) -> DiffusionPipeline:
    width = 16 if tiny else 2560
    transformer = ZImageTransformer2DModel(
        **{"dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": width}
        | {"axes_dims": [4, 6, 6], "axes_lens": [512, 64, 64]}
        if tiny
        else {}  # the class's defaults are the public model's
    ).eval()
    text = Qwen3Model(
        Qwen3Config(
            vocab_size=512,
            hidden_size=width,
            intermediate_size=32 if tiny else 9728,
            num_hidden_layers=2,
            num_attention_heads=2 if tiny else 32,
            num_key_value_heads=2 if tiny else 8,
            head_dim=8 if tiny else 128,
        )
    ).eval()
    with torch.device("cpu"):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    shift = {"shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False}
    return ZImagePipeline(
        scheduler=scheduler,
        vae=_vae(0.3611, tiny, latent_channels=16, **shift),
        text_encoder=text,
        tokenizer=_qwen_tokenizer(),
        transformer=transformer,
    )


def _qwen_tokenizer() -> Qwen2Tokenizer:
    # byte-level BPE without merges: bytes that are no printable ASCII have stand-ins, of which two matter here
    tokens = [
        *(chr(code) for code in range(33, 127)),
        "\u0120",
        "\u010a",
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    tokenizer = Qwen2Tokenizer(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=1024
    )
    tokenizer.add_special_tokens({"additional_special_tokens": tokens[-2:]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    return tokenizer
