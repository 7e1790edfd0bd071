"""Mode paper: diffusers' native inpainting under a hard mask (Q-Refine, equations 5 and 6, to the letter)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from qrefine.models.device import pick_batch
from qrefine.models.diffusion.batches import Batches, Finish, Job, all_pasted, jobs_of, to_device, to_host
from qrefine.models.diffusion.calls import Calls, aligned, buckets_of, context_of, padded
from qrefine.models.diffusion.families import alignment, native_side
from qrefine.models.diffusion.img2img import GPU_BATCH, open_pipeline
from qrefine.models.diffusion.levels import active_steps
from qrefine.models.diffusion.load import pick_scheduler
from qrefine.models.diffusion.options import InpaintingOptions
from qrefine.models.diffusion.schedule import exact_strength, rounds_down
from qrefine.models.diffusion.text import shape_key
from qrefine.quality.map import Image, Plane


class NativeInpainter:
    """The model's own inpainting pipeline: the mask is {strength > 0}, its noise level the plane's maximum.

    A plane of several values makes one mask: native pipelines binarise masks. Whole images are inpainted, as in
    the paper, larger ones than the model's in tiles; with ``crops`` only the defects. The result equals a direct
    call of diffusers with a CPU generator of the sample's seed. ``options``: see `InpaintingOptions`.
    """

    Options = InpaintingOptions
    feather = 0.0  # the paper's mask is hard

    def __init__(self, weights: str | DiffusionPipeline | None = None, **options: Any) -> None:
        given = self.Options.of(options)
        self.pipe = open_pipeline(weights, "inpainting", given)
        self.pipe.scheduler = pick_scheduler(self.pipe, given.scheduler, given.scheduler_config)
        self.steps, self.whole = given.steps, not given.crops
        self.crop_area, self.crop_prompt = given.crop_area, given.crop_prompt
        self.pipe.image_processor.postprocess = _as_decoded
        self.calls = Calls(self.pipe, given)
        if self.pipe.scheduler.timesteps is None:  # of PNDM, until they are set
            self.pipe.scheduler.set_timesteps(given.steps)
        self._rounds_down = rounds_down(self.pipe)
        self.text = self.calls.text
        self.align = alignment(self.pipe)
        self.context = context_of(self.pipe, given)
        self.levels()  # what the pipeline does not take is told before any image
        side = native_side(self.pipe)
        as_it_is = self.whole and given.crop_area == "image" and given.buckets is None
        self.buckets = () if as_it_is else buckets_of(self.pipe, given)
        self.batches = Batches(pick_batch(given.batch_size, self.pipe.device, GPU_BATCH), (side, side))

    def __call__(
        self,
        images: Sequence[Image],
        strengths: Sequence[Plane],
        prompts: Sequence[str],
        seeds: Sequence[int],
    ) -> list[Image]:
        """See `qrefine.models.base.Restorer`."""
        steps = [self._steps(plane) for plane in strengths]
        found = self.batches.run(jobs_of(self._job, images, steps, prompts, seeds), self._launch)
        return all_pasted(images, found, steps)

    def levels(self) -> tuple[float, ...]:
        """See `qrefine.models.base.NoiseLevels`."""
        return self.calls.levels((native_side(self.pipe),) * 2)

    def _steps(self, strength: Plane) -> np.ndarray:
        """The mask times the steps of its greatest strength."""
        most = active_steps(strength.max(keepdims=True), self.calls.levels(aligned(strength.shape, self.align)))
        return most * (strength > 0)

    def _job(self, index: int, image: Image, steps: np.ndarray, prompt: str, seed: int) -> Job:
        text = self.text(prompt)
        image, steps = padded(image, steps, self.align)
        most = int(steps.max())  # one call of the pipeline has one strength
        return Job(index, image, steps, text, seed, (shape_key(text), most), most)

    def _launch(self, jobs: Sequence[Job]) -> Finish:
        masks = np.stack([job.plane > 0 for job in jobs])[:, None].astype(np.float32)
        with torch.no_grad():
            output = self.pipe(
                image=to_device([job.image for job in jobs], torch.device("cpu")),
                mask_image=torch.from_numpy(masks),
                strength=exact_strength(int(jobs[0].rank), self.steps, self._rounds_down),
                generator=[torch.Generator().manual_seed(job.seed) for job in jobs],
                **self.calls.arguments(jobs[0].size, [job.text for job in jobs]),
            )
        return to_host(output.images / 2 + 0.5)


def _as_decoded(image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """What the VAE gave, in [-1, 1]: diffusers clamps it, and infinite values would be white."""
    return image
