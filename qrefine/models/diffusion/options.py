"""Options of the diffusion backends; what they cannot know of a model is checked where it is loaded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from qrefine.models.options import DeviceOptions

Side = Annotated[int, Field(ge=8, le=16384)]


class DiffusionOptions(DeviceOptions):
    """What both backends take."""

    steps: int = Field(
        30, ge=1, le=1000, description="of the whole schedule; about eight are needed for a map to have levels"
    )
    scheduler: str | None = Field(None, description="a class of diffusers; null: the model's own")
    negative_prompt: str | None = Field(None, description="what guidance steers away from")
    call: dict[str, Any] = Field(
        default_factory=dict, description="further arguments of the pipeline's call, such as guidance_scale"
    )
    buckets: tuple[tuple[Side, Side], ...] | None = Field(
        None, min_length=1, description="[height, width] of the crops; null: by the size the model was trained at"
    )
    batch_size: int | None = Field(
        None, ge=1, le=1024, description="crops of the largest bucket at a time; null: 4 on a GPU, 1 on a CPU"
    )
    context: int | None = Field(
        None, ge=0, le=1024, description="pixels shown around a defect; null: 1/16 of the model's own size"
    )
    dtype: Literal["bfloat16", "float16", "float32"] | None = Field(
        None, description="of the weights; null: bfloat16 on a GPU, float32 on a CPU"
    )
    revision: str | None = Field(None, description="of the hub's repository")
    variant: str | None = Field(None, description="of the weight files, such as fp16")
    prompts_kept: int = Field(128, ge=1, le=1_000_000, description="prompt embeddings held on the device")


class ImageToImageOptions(DiffusionOptions):
    exact: bool = Field(True, description="fill up every batch, so that no bit depends on the company")
    feather: float = Field(16, ge=0, le=512, description="width of the seam, in pixels inside the defect")
    compile: bool = Field(False, description="the blocks that repeat, one graph per shape: minutes at the start")
    warmup: bool | None = Field(None, description="run every bucket once at the start; null: on a GPU")


class InpaintingOptions(DiffusionOptions):
    crops: bool = Field(False, description="inpaint the defects alone, in buckets; false: whole images")
