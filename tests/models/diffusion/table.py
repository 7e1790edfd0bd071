"""What each family is given, on tiny models: `python -m tests.models.diffusion.table`.

Per family: the size at which a small defect in an image of twice the native side is shown, SDXL's time ids,
forward passes per step for a prompt and for none, tokens kept of a prompt of 300 letters, and the noise level at
which the strengths .25, .5 and .75 begin. Sizes of tiny Stable Diffusion models are 1/8 of the real ones or less.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image

from qrefine.models.diffusion.img2img import DiffusersRestorer
from qrefine.models.diffusion.random_models import random_pipeline
from qrefine.stages.crops import defect_crops, restore_defects
from tests.models.diffusion.tiny import FAMILIES, saved

STEPS = 8
STRENGTHS = (0.25, 0.5, 0.75)
NATIVE = {"sd": 128, "sdxl": 128, "sd3": 64, "flux": 1024, "qwen": 1328, "zimage": 1024}  # of the tiny models


@dataclass(frozen=True)
class Row:
    fed: tuple[int, int]
    time_ids: list[int] | None
    guided: float  # forward passes of one sample, per step
    blind: float
    tokens: int
    begins: tuple[float, ...]


def tiny(family: str, **options: Any) -> DiffusersRestorer:
    settings: dict[str, Any] = {"steps": STEPS, "device": "cpu", "batch_size": 1, "context": 0, **options}
    if family in ("sd", "sdxl"):  # these know more than one size
        base = random_pipeline({"sd": "sd15"}.get(family, family), torch.device("cpu"), torch.float32, tiny=True)
        return DiffusersRestorer(AutoPipelineForImage2Image.from_pipe(base), **settings)
    return DiffusersRestorer(str(saved(family)), **settings)


def row(family: str) -> Row:
    """Everything is measured from outside: hooks on the network, and its scheduler."""
    side = 2 * NATIVE[family]
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    plane = np.zeros((side, side), np.float32)
    plane[side // 2 : side // 2 + 8, side // 2 : side // 2 + 8] = 1
    (crop,) = defect_crops(plane, tiny(family))
    # the networks of tiny transformers are small, what they are shown is not
    small = {} if max(crop.size) <= 128 else {"buckets": [[64, 64]]}
    model = tiny(family, **small)
    seen: list[tuple[Any, dict[str, Any]]] = []
    network = getattr(model.pipe, "unet", None) or model.pipe.transformer
    network.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)

    def run(strength: float, prompt: str) -> tuple[int, float]:
        """Passes of one sample, and the noise level at which they began."""
        seen.clear()
        restore_defects(model, [image], [plane * np.float32(strength)], [prompt], [0])
        begun = STEPS - int(model.pipe.scheduler.job.steps.max())
        return sum(_samples(*call) for call in seen), _level(model.pipe.scheduler, begun)

    guided = run(1.0, "a")[0] / STEPS
    ids = seen[0][1]["added_cond_kwargs"]["time_ids"][0].int().tolist() if family == "sdxl" else None
    blind = run(1.0, "")[0] / STEPS
    begins = tuple(run(strength, "a")[1] for strength in STRENGTHS)
    return Row(crop.size, ids, guided, blind, _tokens(model.text("abc " * 100)), begins)


def _samples(args: Any, kwargs: dict[str, Any]) -> int:
    return len(args[0] if args else kwargs["hidden_states"])


def _tokens(embedding: dict[str, Any]) -> int:
    value = embedding["prompt_embeds"]
    if "prompt_embeds_mask" in embedding:
        return int(embedding["prompt_embeds_mask"].sum())
    return len(value[0]) if isinstance(value, list) else int(value.shape[1])


def _level(scheduler: Any, index: int) -> float:
    """Noise in noise + signal at the step with this index of the schedule that was last set."""
    sigma = float(scheduler.sigmas[index])
    return sigma if hasattr(scheduler, "shift") else sigma / (1 + sigma)  # flow matching's is the share itself


def main() -> None:
    torch.set_num_threads(1)
    head = f"{'family':<8}{'crop fed':<14}{'time ids':<32}{'prompt':>7}{'blind':>7}{'tokens':>8}  begins at"
    print(head, *STRENGTHS, flush=True)
    for family in FAMILIES:
        with open(os.devnull, "w") as quiet, contextlib.redirect_stderr(quiet):
            found = row(family)
        fed = "x".join(map(str, found.fed))
        ids = "" if found.time_ids is None else str(found.time_ids)
        begins = " ".join(f"{level:.2f}" for level in found.begins)
        print(
            f"{family:<8}{fed:<14}{ids:<32}{found.guided:>7g}{found.blind:>7g}{found.tokens:>8}  {begins}",
            flush=True,
        )


if __name__ == "__main__":
    main()
