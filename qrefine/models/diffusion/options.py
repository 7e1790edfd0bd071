"""Options of the diffusion backends; what depends on the model is checked when the model is loaded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from qrefine.models.options import DeviceOptions, Options

Side = Annotated[int, Field(ge=8, le=16384)]


class Lora(Options):
    """One adapter, such as LCM, Hyper-SD or DMD2."""

    weights: str = Field(description="file or folder, or hub id")
    file: str | None = Field(None, description="file in the folder or the repository")
    scale: float = Field(1.0, ge=-8, le=8, description="how much of it is added to the weights")
    revision: str | None = Field(None, description="revision of the hub repository")


class Control(Options):
    """A ControlNet that is shown the crop itself, such as a tile ControlNet: it holds the crop's content."""

    weights: str = Field(description="folder or hub id")
    scale: float = Field(0.8, ge=0, le=2, description="how much it holds (0.8: default of diffusers)")
    end: float = Field(1.0, gt=0, le=1, description="share of the steps in which it holds")
    revision: str | None = Field(None, description="revision of the hub repository")
    variant: str | None = Field(None, description="variant of the weight files, such as fp16")


class DiffusionOptions(DeviceOptions):
    """Options of both backends."""

    steps: int = Field(
        30, ge=1, le=1000, description="denoising steps; a strength map has as many levels, so use eight or more"
    )
    scheduler: str | None = Field(None, description="scheduler class of diffusers; null: the model's own")
    scheduler_config: dict[str, Any] = Field(
        default_factory=dict, description="settings of the scheduler, such as timestep_spacing"
    )
    negative_prompt: str | None = Field(
        None, description="negative prompt where there is a prompt; null: the family's own (qwen: a space)"
    )
    call: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of the pipeline's call; guidance is the family's own"
    )
    loras: tuple[Lora, ...] = Field((), description="adapters, fused into the weights once")
    crop_area: Literal["native", "image"] = Field(
        "native",
        description="crops enlarged to the pixels that the model was trained on; image: at the image's resolution,"
        " several times cheaper for small defects",
    )
    crop_prompt: Literal["auto", "full", "words", "none"] = Field(
        "auto", description="auto: the prompt for crops that show most of the image, else the positive words alone"
    )
    buckets: tuple[tuple[Side, Side], ...] | None = Field(
        None, min_length=1, description="crop sizes, [height, width]; null: the model's native ones"
    )
    batch_size: int | None = Field(
        None, ge=1, le=1024, description="crops of the largest bucket in a batch; null: 4 on a GPU, 1 on a CPU"
    )
    context: int | None = Field(
        None, ge=0, le=1024, description="pixels of context around a defect; null: 1/16 of the model's native size"
    )
    dtype: Literal["bfloat16", "float16", "float32"] | None = Field(
        None, description="dtype of the weights; null: bfloat16 on a GPU, float32 on a CPU"
    )
    revision: str | None = Field(None, description="revision of the hub repository")
    variant: str | None = Field(None, description="variant of the weight files, such as fp16")
    prompts_kept: int = Field(128, ge=1, le=1_000_000, description="prompt embeddings cached on the device")


class ImageToImageOptions(DiffusionOptions):
    controlnet: Control | None = Field(None, description="ControlNet on the crop (tile); for U-Net families")
    exact: bool = Field(True, description="pad every batch to full size: results do not depend on the batch")
    feather: float = Field(
        16,
        ge=0,
        le=512,
        description="width in pixels of the blend inside the defect's border; narrower in narrow ones",
    )
    compile: bool = Field(
        False, description="compile the repeated blocks, one graph per shape: takes minutes at start"
    )
    warmup: bool | None = Field(None, description="run every bucket once at start; null: only on a GPU")


class InpaintingOptions(DiffusionOptions):
    crops: bool = Field(
        False,
        description="inpaint only the defects; false: whole images, the larger ones in tiles",
    )
