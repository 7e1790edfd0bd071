"""Tiny random diffusion models, saved in the layout of the public ones: what a hub download would look like.

Configurations keep the structure of the real models (class names, components, tokenizers) and shrink the sizes.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
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
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz,.:;'?!0123456789"
FAMILIES = ("sd", "sdxl", "sd3", "flux", "qwen", "zimage")
PIPELINES = {
    "sd": "StableDiffusionImg2ImgPipeline",
    "sdxl": "StableDiffusionXLImg2ImgPipeline",
    "sd3": "StableDiffusion3Img2ImgPipeline",
    "flux": "FluxImg2ImgPipeline",
    "qwen": "QwenImageImg2ImgPipeline",
    "zimage": "ZImageImg2ImgPipeline",
}

# what the authors' own examples pass; see qrefine/models/diffusion/families.py for where they stand
EXAMPLES = {
    "sd": {"guidance_scale": 7.5},
    "sdxl": {"guidance_scale": 5.0},
    "sd3": {"guidance_scale": 7.0},
    "flux": {"guidance_scale": 3.5},
    "qwen": {"true_cfg_scale": 4.0, "negative_prompt": " "},
    "zimage": {"guidance_scale": 0.0},
}


@functools.cache
def saved(family: str) -> Path:
    """Folder of a tiny model of the family, built once per test run."""
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp(prefix=f"tiny-{family}-"))
    pipeline = globals()[f"_{family}"]()
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _clip_tokenizer() -> CLIPTokenizer:
    tokens = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)


def _t5_tokenizer() -> T5TokenizerFast:
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((letter, -2.0) for letter in LETTERS)]
    return T5TokenizerFast(vocab=vocab, extra_ids=0)


def _qwen_tokenizer() -> Qwen2Tokenizer:
    # byte-level BPE without merges: bytes that are no printable ASCII have stand-ins, of which two matter here
    printable = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    vocab = {token: i for i, token in enumerate(printable)}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab.update({token: len(vocab) + i for i, token in enumerate(special)})
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=1024)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def _clip(tokens: int, projection: bool = False) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=tokens,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def _t5(tokens: int) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=tokens, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    ).eval()


def _vae(channels: int, **config) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=64,
        **config,
    ).eval()


def _unet(cross: int, **config) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        cross_attention_dim=cross,
        norm_num_groups=4,
        **config,
    ).eval()


def _noise(scheduler, **config):
    return scheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **config)


def _sd() -> StableDiffusionPipeline:
    tokenizer = _clip_tokenizer()
    return StableDiffusionPipeline(
        vae=_vae(4, scaling_factor=0.18215),
        text_encoder=_clip(len(tokenizer)),
        tokenizer=tokenizer,
        unet=_unet(16),
        scheduler=_noise(PNDMScheduler, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> StableDiffusionXLPipeline:
    tokenizer = _clip_tokenizer()
    return StableDiffusionXLPipeline(
        vae=_vae(4, scaling_factor=0.13025),
        text_encoder=_clip(len(tokenizer)),
        text_encoder_2=_clip(len(tokenizer), projection=True),
        tokenizer=tokenizer,
        tokenizer_2=_clip_tokenizer(),
        unet=_unet(
            32,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        scheduler=_noise(EulerDiscreteScheduler),
    )


def _sd3() -> StableDiffusion3Pipeline:
    tokenizer, t5 = _clip_tokenizer(), _t5_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=8,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
            pos_embed_max_size=16,
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(len(tokenizer), projection=True),
        tokenizer=tokenizer,
        text_encoder_2=_clip(len(tokenizer), projection=True),
        tokenizer_2=_clip_tokenizer(),
        text_encoder_3=_t5_wide(len(t5)),
        tokenizer_3=t5,
    )


def _t5_wide(tokens: int) -> T5EncoderModel:
    """As wide as both CLIP encoders together, as SD3 requires of it."""
    return T5EncoderModel(
        T5Config(vocab_size=tokens, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    ).eval()


def _flux() -> FluxPipeline:
    tokenizer, t5 = _clip_tokenizer(), _t5_tokenizer()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            guidance_embeds=True,
            axes_dims_rope=(2, 2, 4),
        ).eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=_t5(len(t5)),
        tokenizer_2=t5,
    )


def _qwen() -> QwenImagePipeline:
    tokenizer = _qwen_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 16,
    }  # fmt: skip
    return QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
        vae=AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 1, 2, 2], num_res_blocks=1).eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision)
        ).eval(),
        tokenizer=tokenizer,
        transformer=QwenImageTransformer2DModel(
            in_channels=64,
            out_channels=16,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 6, 6),
        ).eval(),
    )


def _zimage() -> ZImagePipeline:
    tokenizer = _qwen_tokenizer()
    return ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=3,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=8,
            )
        ).eval(),
        tokenizer=tokenizer,
        transformer=ZImageTransformer2DModel(
            all_patch_size=(2,),
            all_f_patch_size=(1,),
            in_channels=16,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[4, 6, 6],
            axes_lens=[256, 32, 32],
        ).eval(),
    )
