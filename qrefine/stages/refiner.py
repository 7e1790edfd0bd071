"""Builds and runs the stages in memory, without Ray and without files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qrefine.config import Backend, RefineConfig, load_config, sample_seed
from qrefine.models.heap import keep_memory
from qrefine.models.registry import draws_anew, load_comparator, load_judge, load_mapper, load_restorer
from qrefine.quality.map import Image, Mapper, QualityMap
from qrefine.sample import Decision, Sample
from qrefine.stages.accept import Accept
from qrefine.stages.enhance import Enhance
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.judge import Judge
from qrefine.stages.noise import Noise
from qrefine.stages.stage import Stage, run_stages

MODEL_STAGES = ("map", "noise", "inpaint", "enhance", "accept")


class Map:
    """Scores the source: Q and q = Avg(Q) (equations 1 and 2)."""

    def __init__(self, mapper: Mapper) -> None:
        self.mapper = mapper

    def wants(self, sample: Sample) -> bool:
        return sample.before is None

    def __call__(self, samples: Sequence[Sample]) -> list[Sample]:
        maps = self.mapper([sample.image for sample in samples])
        return [replace(sample, before=quality) for sample, quality in zip(samples, maps, strict=True)]


def build_stages(names: Sequence[str], config: RefineConfig) -> list[Stage]:
    """The named stages in the order given, each model loaded once however many stages share it.

    Stages that the configuration leaves out are skipped; judges follow acceptance. Raises UserError for an
    unknown model.
    """
    keep_memory()
    cache: dict[str, object] = {}
    blind = config.enhance.blind
    builders: dict[str, Callable[[], Stage]] = {
        "map": lambda: Map(load_mapper(config.mapper, cache, config.bounds)),
        "noise": lambda: Noise(config),
        "inpaint": lambda: Inpaint(config, load_restorer(config.inpaint, cache)),
        "enhance": lambda: Enhance(
            config,
            load_restorer(blind, cache),
            load_restorer(config.enhance.prompt, cache) if config.enhance.prompt else None,
        ),
        "accept": lambda: Accept(
            config,
            load_mapper(config.mapper, cache, config.bounds),
            None if config.accept.risk is None else load_comparator(config.accept.judge, cache),
            redraws=any(draws_anew(backend) for backend in changing_backends(config)),
        ),
        "judge": lambda: Judge(config, {name: load_judge(name) for name in config.judges}),
    }
    there = {"map", *config.stages, *(["accept"] if config.stages else []), *(["judge"] if config.judges else [])}
    wanted = [each for name in names for each in ((name, "judge") if name == "accept" else (name,))]
    return [builders[name]() for name in wanted if name in there]


def changing_backends(config: RefineConfig) -> list[Backend]:
    """Those that may change a pixel."""
    enhance = [config.enhance.blind, *([config.enhance.prompt] if config.enhance.prompt else [])]
    return [
        *([config.inpaint] if "inpaint" in config.stages else []),
        *(enhance if "enhance" in config.stages else []),
    ]


@dataclass(frozen=True)
class Refined:
    """What became of one image. ``image`` is the source itself where ``status`` is not ``refined``.

    ``decision`` is one of ``qrefine.sample.DECISIONS``, None where it failed.
    """

    image: Image
    status: str
    decision: Decision | None
    before: QualityMap | None
    after: QualityMap | None
    stages: tuple[str, ...]
    judgements: dict[str, tuple[float, float]]
    error: str | None


class Refiner:
    """Refines images in memory, as the paper does for one image.

    >>> refiner = Refiner.from_config()
    >>> result = refiner([image], ["a corgi on the moon"])[0]
    """

    def __init__(self, config: RefineConfig | None = None) -> None:
        self.config = config or RefineConfig()
        self.stages = build_stages(MODEL_STAGES, self.config)

    @classmethod
    def from_config(cls, path: str | Path | None = None, overrides: Sequence[str] = ()) -> Refiner:
        """A refiner from a YAML file, or from the defaults; raises UserError."""
        return cls(load_config(path, overrides))

    def __call__(
        self, images: Sequence[Image], prompts: Sequence[str] | None = None, keys: Sequence[str] | None = None
    ) -> list[Refined]:
        """Refine RGB images, each (h, w, 3) uint8, sizes mixed. Keys seed the noise; default: the position."""
        prompts = [""] * len(images) if prompts is None else prompts
        keys = [str(i) for i in range(len(images))] if keys is None else keys
        samples = [
            Sample(key=key, prompt=prompt, seed=sample_seed(key, self.config.seed), decoded=_checked(image))
            for image, prompt, key in zip(images, prompts, keys, strict=True)
        ]
        return [self._result(sample) for sample in run_stages(self.stages, samples)]

    def _result(self, sample: Sample) -> Refined:
        judgements = dict(zip(self.config.judges, sample.judgements, strict=False))
        after = sample.after or sample.before
        return Refined(
            sample.image if sample.error else sample.pixels,
            sample.status,
            sample.verdict,
            sample.before,
            after,
            sample.stages,
            judgements,
            sample.error,
        )


def _checked(image: Image) -> Image:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image is (h, w, 3) uint8 RGB, not {image.dtype} of shape {image.shape}")
    return image
