"""Mode fused: batched image-to-image under a strength map per image, on any family that diffusers loads."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from qrefine.models.device import pick_batch, pick_device, pick_dtype
from qrefine.models.diffusion.batches import Batches, Finish, Job, Size, all_pasted, jobs_of, to_device, to_host
from qrefine.models.diffusion.load import load_pipeline, pick_scheduler, prepare
from qrefine.models.diffusion.options import DiffusionOptions, ImageToImageOptions
from qrefine.models.diffusion.schedule import StrengthJob, differential, exact_strength, memoryless, rounds_down
from qrefine.models.diffusion.text import PromptEncoder, collate, shape_key
from qrefine.quality.map import Image, Plane

GPU_BATCH = 4  # images of the largest bucket; fills an 80 GB GPU with SDXL at 1024 px several times over
UNET_ALIGN = 64  # pixels; U-Nets halve their latents three times
CONTEXT_SHARE = 16  # the default context of a crop is 1/16 of the model's native size
OURS = frozenset(
    ("image", "mask_image", "prompt", "strength", "num_inference_steps", "generator", "output_type", "latents")
)


class DiffusersRestorer:
    """Differential image-to-image (arXiv 2306.00950) on a model of diffusers.

    ``weights``: a folder in diffusers' layout, a hub id, or a pipeline object. ``options``: see
    `ImageToImageOptions`; a defect of strength s runs the last s * steps of the steps. As E_B it gets empty
    prompts, as E_P the prompt with positive words. Raises ValueError (one line) if the model is missing, of
    another kind, or has no strength to set, and for options that are wrong or unsupported by the model.
    """

    Options = ImageToImageOptions
    whole = False

    def __init__(self, weights: str | DiffusionPipeline | None = None, **options: Any) -> None:
        given = self.Options.of(options)
        self.pipe = open_pipeline(weights, "image-to-image", given)
        self._parameters = inspect.signature(self.pipe.__call__).parameters
        if "strength" not in self._parameters or not hasattr(self.pipe, "get_timesteps"):
            raise ValueError(f"{type(self.pipe).__name__} has no schedule that a strength could enter late")
        self.steps, self.feather = given.steps, given.feather
        self.pipe.scheduler = differential(pick_scheduler(self.pipe, given.scheduler), given.steps)
        self._mixes_entries = memoryless(self.pipe.scheduler)
        self._rounds_down = rounds_down(self.pipe)
        self.pipe.image_processor = TensorProcessor()
        self.call = checked_call(self.pipe, given.call)
        self.text = PromptEncoder(self.pipe, given.negative_prompt, given.prompts_kept)
        self.align = alignment(self.pipe)
        self.context = context_of(self.pipe, given)
        self.buckets = checked_buckets(given, self.align) or default_buckets(native_side(self.pipe), self.align)
        largest = max(self.buckets, key=lambda size: size[0] * size[1])
        self.batches = Batches(pick_batch(given.batch_size, self.pipe.device, GPU_BATCH), largest, given.exact)
        self._waste = torch.Generator(self.pipe.device)  # the pipeline draws noise that the schedule replaces
        on_gpu = self.pipe.device.type == "cuda"
        if on_gpu:
            _lay_out(self.pipe)
        if given.compile:
            compile_blocks(self.pipe, graphs=4 * len(self.buckets))
        if on_gpu if given.warmup is None else given.warmup:
            self._warm_up()

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        """See `qrefine.models.base.Restorer`. Sizes outside the buckets are padded to what the model takes."""
        found = self.batches.run(jobs_of(self._job, images, strengths, prompts, seeds), self._launch)
        return all_pasted(images, found, strengths)

    def _job(self, index: int, image: Image, strength: Plane, prompt: str, seed: int) -> Job:
        text = self.text(prompt)
        image, strength = padded(image, strength, self.align)
        rank = active_steps(strength, self.steps).max()
        # with a multistep scheduler a sample that enters late would change if its batch began earlier
        group = (shape_key(text), None if self._mixes_entries else int(rank))
        return Job(index, image, strength, text, seed, group, float(rank))

    def _launch(self, jobs: Sequence[Job]) -> Finish:
        pipe = self.pipe
        height, width = jobs[0].size
        steps = latent_steps(np.stack([job.strength for job in jobs]), self.steps, latent_scale(pipe))
        strength_job = StrengthJob(
            torch.from_numpy(steps), self.steps, [job.seed for job in jobs], lambda latents: pack(pipe, latents)
        )
        pipe.scheduler.begin(strength_job)
        sides = {name: side for name, side in (("height", height), ("width", width)) if name in self._parameters}
        with deterministic_encoder(pipe.vae), torch.no_grad():
            output = pipe(
                image=to_device([job.image for job in jobs], pipe.device) * 2 - 1,
                strength=exact_strength(int(steps.max()), self.steps, self._rounds_down),
                num_inference_steps=self.steps,
                generator=self._waste,
                output_type="pt",
                **sides,
                **collate([job.text for job in jobs]),
                **self.call,
            )
        return to_host(output.images / 2 + 0.5)

    def _warm_up(self) -> None:
        text = self.text("")
        for height, width in self.buckets:
            image = np.zeros((height, width, 3), np.uint8)
            strength = np.full((height, width), 1 / self.steps, np.float32)
            job = Job(0, image, strength, text, 0, None, 1)
            self.batches.run([job], self._launch)


class TensorProcessor:
    """Replaces a pipeline's image processor: tensors (B, 3, h, w) in [-1, 1] pass unchanged.

    The stock processor reads the smallest pixel, for which the host waits, and for some families it undoes a
    normalisation that was switched off.
    """

    def preprocess(self, image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return image

    def postprocess(self, image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return image


def open_pipeline(weights: str | DiffusionPipeline | None, task: str, given: DiffusionOptions) -> Any:
    """The given pipeline, or one from `load_pipeline`."""
    if isinstance(weights, DiffusionPipeline):
        return prepare(weights)
    device = pick_device(given.device)
    return load_pipeline(
        weights,
        task,
        device=device,
        dtype=pick_dtype(given.dtype, device),
        revision=given.revision,
        variant=given.variant,
    )


def active_steps(strength: np.ndarray, steps: int) -> np.ndarray:
    """k = ceil(s N): of N steps the last k change a pixel of strength s; 0 exactly where s is 0."""
    return np.ceil(np.clip(strength, 0, 1) * steps - 1e-4).clip(strength > 0, steps).astype(np.int64)


def latent_steps(strength: np.ndarray, steps: int, scale: int) -> np.ndarray:
    """`active_steps` of latents, (B, h / scale, w / scale): a latent takes the strength of its strongest pixel."""
    batch, height, width = strength.shape
    cells = strength.reshape(batch, height // scale, scale, width // scale, scale)
    return active_steps(cells.max(axis=(2, 4)), steps)


def latent_scale(pipe: Any) -> int:
    """Pixels along one side of a latent."""
    return int(pipe.vae_scale_factor)


def pack(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents in the layout of the family's denoising steps: some pack 2 x 2 latents into one token."""
    if not hasattr(pipe, "_pack_latents"):
        return latents
    return pipe._pack_latents(latents, latents.shape[0], *latents.shape[-3:])


def padded(image: Image, strength: Plane, align: int) -> tuple[Image, Plane]:
    """Pads to multiples of ``align`` at the bottom and the right with repeated pixels and strength 0."""
    below, right = (-side % align for side in strength.shape)
    if not below and not right:
        return image, strength
    return (
        np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge"),
        np.pad(strength, ((0, below), (0, right))),
    )


def alignment(pipe: Any) -> int:
    """Sizes that the model takes are multiples of this many pixels."""
    return UNET_ALIGN if hasattr(pipe, "unet") else 2 * latent_scale(pipe)


def native_side(pipe: Any) -> int:
    """Side in pixels of the images that the model was trained on."""
    model = getattr(pipe, "unet", None) or pipe.transformer
    latents: Any = getattr(model.config, "sample_size", None) or getattr(pipe, "default_sample_size", 128)
    return int(latents if isinstance(latents, int) else max(latents)) * latent_scale(pipe)


def default_buckets(side: int, align: int) -> tuple[Size, ...]:
    """Squares of 1/2, 5/8, 3/4 and 1 of ``side``, and its upright and its flat half."""
    part = {share: max(align, round(side * share / align) * align) for share in (0.5, 0.625, 0.75, 1.0)}
    squares = {(s, s) for s in part.values()}
    return tuple(sorted(squares | {(part[0.5], part[1.0]), (part[1.0], part[0.5])}))


def context_of(pipe: Any, given: DiffusionOptions) -> int:
    """Pixels that a crop shows around its defect: the option, or a share of the model's native size."""
    return native_side(pipe) // CONTEXT_SHARE if given.context is None else given.context


def checked_buckets(given: DiffusionOptions, align: int) -> tuple[Size, ...]:
    """The configured buckets, none by default; raises ValueError for one that the model cannot take."""
    for bucket in given.buckets or ():
        if any(side < align or side % align for side in bucket):
            raise ValueError(f"bucket {list(bucket)}: expected [height, width] in multiples of {align} pixels")
    return given.buckets or ()


def checked_call(pipe: Any, call: Mapping[str, Any]) -> dict[str, Any]:
    """Further arguments of the pipeline's call; raises ValueError for unknown ones and those that we set."""
    known = set(inspect.signature(pipe.__call__).parameters) - OURS
    for name in call:
        if name not in known:
            raise ValueError(f"call: {type(pipe).__name__} takes no {name!r} from the configuration")
    return dict(call)


def compile_blocks(pipe: Any, graphs: int) -> None:
    """Compile the repeated blocks with static shapes; ``graphs`` compiled graphs are kept."""
    import torch._dynamo

    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, graphs)
    model = getattr(pipe, "unet", None) or pipe.transformer
    model.compile_repeated_blocks(dynamic=False)


def _lay_out(pipe: Any) -> None:
    """Convolutions of U-Nets and VAEs run faster on tensor cores with their channels last."""
    for network in (getattr(pipe, "unet", None), pipe.vae):
        if network is not None and not any(p.ndim == 5 for p in network.parameters()):
            network.to(memory_format=torch.channels_last)


@contextmanager
def deterministic_encoder(vae: Any) -> Iterator[None]:
    """Inside, the VAE encodes an image as the mean of its posterior: no noise that depends on the batch."""
    encode = vae.encode

    def mean(pixels: torch.Tensor, *args: Any, **kwargs: Any) -> SimpleNamespace:
        output = encode(pixels, *args, **kwargs)
        latents = output.latent_dist.mode() if hasattr(output, "latent_dist") else output.latents
        return SimpleNamespace(latents=latents)

    vae.encode = mean
    try:
        yield
    finally:
        del vae.encode  # restores the class's method
