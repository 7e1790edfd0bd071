"""Semantic segmentation as a quality map: 1 - the probability of the classes that count as artifacts.

Any model of ``transformers`` that answers with logits by class (SegFormer, UperNet, BEiT, DPT, ...) or with
queries that have a class and a mask each (Mask2Former, MaskFormer). A pixel's probability is the softmax over the
classes; with queries it is the sum over them of class times mask (semantic inference of Cheng et al., arXiv
2107.06278), at most 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

try:
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForSemanticSegmentation,
        AutoModelForUniversalSegmentation,
    )
except ImportError as error:
    raise ImportError(f"{error}: pip install 'qrefine[diffusion]'") from error

from qrefine.errors import UserError, one_line
from qrefine.models.device import pick_batch, pick_device
from qrefine.models.locate import model_source
from qrefine.models.mappers.roi import roi_average_max
from qrefine.models.memory import FittingBatches
from qrefine.models.options import BatchOptions
from qrefine.quality.map import Image, QualityMap
from qrefine.quality.regions import patch_count

WHAT = "a semantic segmentation model of transformers"
GPU_BATCH = 8
AUTO = (AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation)
NOT_MOVED = {"do_center_crop": False}  # the map must cover the image


class SegmentationOptions(BatchOptions):
    classes: tuple[str, ...] = Field(
        min_length=1, description="names of the model's classes that count as artifacts"
    )


class SegmentationMapper:
    """Q of a patch: 1 - the mean of the average and the maximum of the artifacts' probability in it.

    So a patch that holds a small artifact is not saved by what lies around it (RoIPool of equation 2).
    ``weights``: a folder with the model and its image processor in the layout of ``transformers``, or a hub id.
    The network sees the image at the size that its processor asks for. UserError where the model lacks a class.
    """

    Options = SegmentationOptions

    def __init__(
        self, weights: str | None = None, grid: int = 16, patch: int | None = None, **options: Any
    ) -> None:
        given = self.Options.of(options)
        self.grid, self.patch = grid, patch
        self.device = pick_device(given.device)
        self.batches = FittingBatches(pick_batch(given.batch_size, self.device, GPU_BATCH))
        source = model_source(weights, "config.json", WHAT)
        loader, config = _loader(source)
        self.artifacts = class_numbers(config.id2label, given.classes, source)
        self.model, self.processor = _load(loader, source)
        self.model.eval().to(self.device)
        try:
            self([np.zeros((64, 64, 3), np.uint8)])
        except Exception as error:  # a model that answers otherwise would fail on every image
            raise ValueError(f"{source} does not serve as {WHAT}: {one_line(error)}") from error

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        prepared = [self._prepared(image) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, (pixels, _) in enumerate(prepared):
            groups.setdefault(tuple(pixels.shape), []).append(i)
        maps: dict[int, QualityMap] = {}
        for shape, members in groups.items():
            batch = [prepared[i][0] for i in members]
            planes = self.batches.map(batch, self._probabilities, shape)
            for i, plane in zip(members, planes, strict=True):
                maps[i] = self._map(images[i], plane, prepared[i][1])
        return [maps[i] for i in range(len(images))]

    def _prepared(self, image: Image) -> tuple[Tensor, tuple[int, int]]:
        """The network's input (3, H, W), and the (height, width) of it that is no padding."""
        found = self.processor(images=image, return_tensors="pt", **NOT_MOVED)
        pixels = found["pixel_values"][0]
        if "pixel_mask" not in found:
            return pixels, tuple(pixels.shape[-2:])
        mask = found["pixel_mask"][0].bool()
        return pixels, (int(mask.any(1).sum()), int(mask.any(0).sum()))

    @torch.inference_mode()
    def _probabilities(self, batch: Sequence[Tensor]) -> list[Tensor]:
        """Of each input (3, H, W) the artifacts' probability, (H, W) float32 in [0, 1]."""
        x = torch.stack(list(batch)).to(self.device)
        planes = artifact_probability(self.model(pixel_values=x), self.artifacts, (x.shape[2], x.shape[3]))
        return list(planes.cpu())

    def _map(self, image: Image, plane: Tensor, filled: tuple[int, int]) -> QualityMap:
        n = patch_count(image.shape[0], image.shape[1], self.grid, self.patch)
        average, highest = roi_average_max(plane[None, None], 1, filled, n)[0].unbind(-1)
        return QualityMap((1 - (average + highest) / 2).clamp(0, 1).numpy())


def class_numbers(names: Mapping[int, str], wanted: Sequence[str], source: str) -> list[int]:
    """The numbers of the ``wanted`` classes, whatever their case; UserError that names the classes there are."""
    by_name = {str(name).strip().casefold(): int(number) for number, name in names.items()}
    missing = [name for name in wanted if name.strip().casefold() not in by_name]
    if missing:
        there = ", ".join(str(name) for _, name in sorted(names.items()))
        raise UserError(f"mapper 'segmentation': {source} has no class {', '.join(missing)}; its classes: {there}")
    return sorted({by_name[name.strip().casefold()] for name in wanted})


def artifact_probability(outputs: Any, artifacts: Sequence[int], size: tuple[int, int]) -> Tensor:
    """(B, height, width) float32 in [0, 1] at ``size``, from a model's outputs.

    ValueError for outputs that hold no map of classes.
    """
    resize = partial(F.interpolate, size=size, mode="bilinear", align_corners=False)
    logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor) and logits.ndim == 4:
        logits = resize(logits.float())
        odds = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
        return odds[:, list(artifacts)].sum(1).clamp(0, 1)
    of_class, masks = (getattr(outputs, name, None) for name in ("class_queries_logits", "masks_queries_logits"))
    if not isinstance(of_class, Tensor) or not isinstance(masks, Tensor):
        raise ValueError(f"the answer of this model holds no map of classes: {', '.join(outputs.keys())}")
    share = of_class.float().softmax(-1)[..., list(artifacts)].sum(-1)  # the last class, none, is never among them
    return torch.einsum("bq,bqhw->bhw", share, resize(masks.float()).sigmoid()).clamp(0, 1)


def _loader(source: str) -> tuple[Any, Any]:
    """The class that loads the model, and the model's configuration."""
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=Path(source).is_dir())
    except Exception as error:  # transformers and the hub raise their own classes
        raise ValueError(f"{source} is not {WHAT}: {one_line(error)}") from error
    for loader in AUTO:
        if type(config) in loader._model_mapping:
            return loader, config
    raise ValueError(f"{source} is not {WHAT} but of type {config.model_type}")


def _load(loader: Any, source: str) -> tuple[Any, Any]:
    local = Path(source).is_dir()
    try:
        model = loader.from_pretrained(source, local_files_only=local, use_safetensors=True)
        # torchvision resizes otherwise than Pillow: a node that has it must score as one that has not
        return model, AutoImageProcessor.from_pretrained(source, local_files_only=local, backend="pil")
    except Exception as error:
        raise ValueError(f"{source} is not {WHAT}: {one_line(error)}") from error
