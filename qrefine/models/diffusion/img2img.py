"""Mode fused: batched image-to-image under a strength map per image, on any family that diffusers loads."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from qrefine.models.device import pick_batch, pick_device, pick_dtype
from qrefine.models.diffusion.adapters import add_control, fuse_loras
from qrefine.models.diffusion.batches import Batches, Finish, Job, all_pasted, jobs_of, to_device, to_host
from qrefine.models.diffusion.calls import Calls, aligned, buckets_of, context_of, padded
from qrefine.models.diffusion.families import alignment, denoiser, latent_scale, takes_a_mask
from qrefine.models.diffusion.levels import active_steps, latent_steps
from qrefine.models.diffusion.load import load_pipeline, pick_scheduler, prepare
from qrefine.models.diffusion.options import DiffusionOptions, ImageToImageOptions
from qrefine.models.diffusion.schedule import StrengthJob, differential, exact_strength, memoryless, rounds_down
from qrefine.models.diffusion.text import shape_key
from qrefine.quality.map import Image, Plane

GPU_BATCH = 4  # images of the largest bucket; fills an 80 GB GPU with SDXL at 1024 px several times over


class DiffusersRestorer:
    """Differential image-to-image (arXiv 2306.00950) on a model of diffusers.

    ``weights``: a folder in diffusers' layout, a hub id, or a pipeline object. ``options``: see
    `ImageToImageOptions`; a defect of strength s starts at the noise level s (`levels`). As E_B it gets empty
    prompts, as E_P the prompt with positive words. Raises ValueError (one line) if the model is missing, of
    another kind, or has no strength to set, and for options that are wrong or unsupported by the model.
    """

    Options = ImageToImageOptions
    whole = False

    def __init__(self, weights: str | DiffusionPipeline | None = None, **options: Any) -> None:
        given = self.Options.of(options)
        self.pipe = open_pipeline(weights, "image-to-image", given)
        self.control = given.controlnet
        if self.control is not None:
            model = denoiser(self.pipe)
            self.pipe = prepare(add_control(self.pipe, self.control, model.device, model.dtype))
            self.pipe.control_image_processor = TensorProcessor()
        if "strength" not in inspect.signature(self.pipe.__call__).parameters or not hasattr(
            self.pipe, "get_timesteps"
        ):
            raise ValueError(f"{type(self.pipe).__name__} has no schedule that a strength could enter late")
        if takes_a_mask(self.pipe):
            raise ValueError("the model is made for inpainting alone: name the backend diffusers_inpaint")
        self.steps, self.feather = given.steps, given.feather
        self.crop_area, self.crop_prompt = given.crop_area, given.crop_prompt
        scheduler = pick_scheduler(self.pipe, given.scheduler, given.scheduler_config)
        self.pipe.scheduler = differential(scheduler, given.steps)
        self._mixes_entries = memoryless(self.pipe.scheduler)
        self._rounds_down = rounds_down(self.pipe)
        self.pipe.image_processor = TensorProcessor()
        self.calls = Calls(self.pipe, given)
        self.text = self.calls.text
        self.align = alignment(self.pipe)
        self.context = context_of(self.pipe, given)
        self.buckets = buckets_of(self.pipe, given)
        largest = max(self.buckets, key=lambda size: size[0] * size[1])
        self.batches = Batches(pick_batch(given.batch_size, self.pipe.device, GPU_BATCH), largest, given.exact)
        self.levels()  # what the pipeline does not take is told before any image
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
        """See `qrefine.models.base.Restorer`. Sizes outside the buckets are padded to what the model takes.

        Pixels whose strength is below half of the lowest level come back as they were, too.
        """
        steps = [active_steps(plane, self.calls.levels(aligned(plane.shape, self.align))) for plane in strengths]
        found = self.batches.run(jobs_of(self._job, images, steps, prompts, seeds), self._launch)
        return all_pasted(images, found, steps)

    def levels(self) -> tuple[float, ...]:
        """See `qrefine.models.base.NoiseLevels`, of the squarest bucket: schedules may depend on the size."""
        return self.calls.levels(min(self.buckets, key=lambda size: (abs(size[0] - size[1]), size)))

    def _job(self, index: int, image: Image, steps: np.ndarray, prompt: str, seed: int) -> Job:
        text = self.text(prompt)
        image, steps = padded(image, steps, self.align)
        most = int(steps.max())
        # with a multistep scheduler a sample that enters late would change if its batch began earlier
        group = (shape_key(text), None if self._mixes_entries else most)
        return Job(index, image, steps, text, seed, group, most)

    def _launch(self, jobs: Sequence[Job]) -> Finish:
        pipe = self.pipe
        steps = latent_steps(np.stack([job.plane for job in jobs]), latent_scale(pipe))
        strength_job = StrengthJob(
            torch.from_numpy(steps), self.steps, [job.seed for job in jobs], lambda latents: pack(pipe, latents)
        )
        pipe.scheduler.begin(strength_job)
        images = to_device([job.image for job in jobs], pipe.device)
        control: dict[str, Any] = {}
        if self.control is not None:
            control = {"control_image": images, "controlnet_conditioning_scale": self.control.scale}
            control |= {"control_guidance_end": self.control.end}
        with deterministic_encoder(pipe.vae), torch.no_grad():
            output = pipe(
                image=images * 2 - 1,
                strength=exact_strength(int(steps.max()), self.steps, self._rounds_down),
                generator=self._waste,
                **control,
                **self.calls.arguments(jobs[0].size, [job.text for job in jobs]),
            )
        return to_host(output.images / 2 + 0.5)

    def _warm_up(self) -> None:
        """Each size once, with guidance where there is some, and without."""
        texts = {shape_key(text): text for text in map(self.text, ("", "a"))}
        for height, width in self.buckets:
            self.calls.levels((height, width))
            image = np.zeros((height, width, 3), np.uint8)
            for text in texts.values():
                job = Job(0, image, np.ones((height, width), np.int64), text, 0, None, 1)
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
        fuse_loras(weights, given.loras)
        return prepare(weights)
    device = pick_device(given.device)
    return load_pipeline(
        weights,
        task,
        device=device,
        dtype=pick_dtype(given.dtype, device),
        revision=given.revision,
        variant=given.variant,
        loras=given.loras,
    )


def pack(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents in the layout of the family's denoising steps: some pack 2 x 2 latents into one token."""
    if not hasattr(pipe, "_pack_latents"):
        return latents
    return pipe._pack_latents(latents, latents.shape[0], *latents.shape[-3:])


def compile_blocks(pipe: Any, graphs: int) -> None:
    """Compile the repeated blocks with static shapes; ``graphs`` compiled graphs are kept."""
    import torch._dynamo

    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, graphs)
    denoiser(pipe).compile_repeated_blocks(dynamic=False)


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
