"""Mode paper: diffusers' native inpainting under a hard mask (Q-Refine, equations 5 and 6, to the letter)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from qrefine.models.device import pick_batch
from qrefine.models.diffusion.batches import Batches, Finish, Job, all_pasted, jobs_of, to_device, to_host
from qrefine.models.diffusion.img2img import (
    GPU_BATCH,
    alignment,
    checked_buckets,
    checked_call,
    context_of,
    default_buckets,
    native_side,
    open_pipeline,
    padded,
)
from qrefine.models.diffusion.load import pick_scheduler
from qrefine.models.diffusion.options import InpaintingOptions
from qrefine.models.diffusion.text import PromptEncoder, collate, shape_key
from qrefine.quality.map import Image, Plane


class NativeInpainter:
    """The model's own inpainting pipeline: the mask is {strength > 0}, the strength is the plane's maximum.

    A plane of several values makes one mask: native pipelines binarise masks. Whole images are inpainted, as in
    the paper; with ``crops`` only the defects, in buckets. The result equals a direct call of diffusers with a CPU
    generator of the sample's seed. ``options``: see `InpaintingOptions`.
    """

    Options = InpaintingOptions
    feather = 0.0  # the paper's mask is hard

    def __init__(self, weights: str | DiffusionPipeline | None = None, **options: Any) -> None:
        given = self.Options.of(options)
        self.pipe = open_pipeline(weights, "inpainting", given)
        self.pipe.scheduler = pick_scheduler(self.pipe, given.scheduler)
        self._parameters = inspect.signature(self.pipe.__call__).parameters
        self.steps, self.whole = given.steps, not given.crops
        self.call = checked_call(self.pipe, given.call)
        self.text = PromptEncoder(self.pipe, given.negative_prompt, given.prompts_kept)
        self.align = alignment(self.pipe)
        self.context = context_of(self.pipe, given)
        side = native_side(self.pipe)
        self.buckets = checked_buckets(given, self.align)
        if given.crops and not self.buckets:
            self.buckets = default_buckets(side, self.align)
        self.batches = Batches(pick_batch(given.batch_size, self.pipe.device, GPU_BATCH), (side, side))

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        """See `qrefine.models.base.Restorer`."""
        found = self.batches.run(jobs_of(self._job, images, strengths, prompts, seeds), self._launch)
        return all_pasted(images, found, strengths)

    def _job(self, index: int, image: Image, strength: Plane, prompt: str, seed: int) -> Job:
        text = self.text(prompt)
        image, strength = padded(image, strength, self.align)
        most = float(strength.max())  # one call of the pipeline has one strength
        return Job(index, image, strength, text, seed, (shape_key(text), most), most)

    def _launch(self, jobs: Sequence[Job]) -> Finish:
        pipe = self.pipe
        height, width = jobs[0].size
        masks = np.stack([job.strength > 0 for job in jobs])[:, None].astype(np.float32)
        sides = {name: side for name, side in (("height", height), ("width", width)) if name in self._parameters}
        with torch.no_grad():
            output = pipe(
                image=to_device([job.image for job in jobs], torch.device("cpu")),
                mask_image=torch.from_numpy(masks),
                strength=max(jobs[0].rank, 1 / self.steps),  # one step at least
                num_inference_steps=self.steps,
                generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
                output_type="pt",
                **sides,
                **collate([job.text for job in jobs]),
                **self.call,
            )
        return to_host(output.images)
