"""Segmentation models as mappers: tiny ones of transformers against its own post-processing, and known answers."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="the extra qrefine[diffusion] is not installed")

from transformers import (
    ConvNextConfig,
    DetrConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerSwinConfig,
    SegformerConfig,
    SegformerForImageClassification,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.maskformer.image_processing_pil_maskformer import MaskFormerImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from qrefine.config import MapperSettings
from qrefine.errors import UserError
from qrefine.models.mappers.segmentation import artifact_probability
from qrefine.models.registry import check_backends, load_mapper
from qrefine.quality.regions import edges

LABELS = {0: "background", 1: "Artifact", 2: "blur"}
NAMED = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, **STAGES}
SQUARE = SegformerImageProcessorPil(size={"height": 64, "width": 64})
EDGES = {"shortest_edge": 64, "longest_edge": 160}


def segformer():
    config = SegformerConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16, **NAMED,
    )  # fmt: skip
    return SegformerForSemanticSegmentation(config), SQUARE


def upernet():
    backbone = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], **STAGES)
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_channels=8, auxiliary_in_channels=16, **NAMED
    )
    return UperNetForSemanticSegmentation(config), SQUARE


def mask2former():
    config = Mask2FormerConfig(
        backbone_config=SwinConfig(**SWIN), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=32, encoder_layers=1, decoder_layers=2, dim_feedforward=32, num_attention_heads=2,
        num_queries=5, **NAMED,
    )  # fmt: skip
    return Mask2FormerForUniversalSegmentation(config), Mask2FormerImageProcessorPil(size=EDGES)


def maskformer():
    decoder = DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=5,
    )  # fmt: skip
    config = MaskFormerConfig(
        backbone_config=MaskFormerSwinConfig(**SWIN), fpn_feature_size=32, mask_feature_size=32,
        decoder_config=decoder, **NAMED,
    )  # fmt: skip
    return MaskFormerForInstanceSegmentation(config), MaskFormerImageProcessorPil(size=EDGES)


FAMILIES = {make.__name__: make for make in (segformer, upernet, mask2former, maskformer)}
SIZES = [(64, 64), (50, 130), (130, 50), (9, 200)]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A tiny model as transformers saves it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, processor = FAMILIES[request.param]()
    path = tmp_path_factory.mktemp(request.param)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


def mapper(folder, classes=("artifact",), grid=4, **options):
    chosen = {"classes": list(classes), "device": "cpu", **options}
    settings = MapperSettings(name="segmentation", weights=str(folder), grid=grid, patch=None, options=chosen)
    return load_mapper(settings)


def pictures(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def size_compared(outputs):
    """Where the library resamples as we do: it brings Mask2Former's masks to 384 x 384 first."""
    if "logits" in outputs:
        return (64, 96)
    masks = outputs.masks_queries_logits.shape[-2:]
    return (384, 384) if "Mask2Former" in type(outputs).__name__ else tuple(masks)


@torch.no_grad()
def test_the_probability_is_that_of_the_librarys_own_post_processing(folder):
    """It gives scores by class: probabilities where queries have masks, logits elsewhere."""
    made = mapper(folder)
    for image in pictures(*SIZES):
        outputs = made.model(pixel_values=made.processor(images=image, return_tensors="pt")["pixel_values"])
        size = size_compared(outputs)
        (found,) = made.processor.post_process_semantic_segmentation(
            outputs, target_sizes=[size], return_segmentation_scores=True
        )
        scores = found.segmentation_scores
        expected = scores.softmax(0)[1] if "logits" in outputs else scores[1].clamp(max=1)
        assert torch.allclose(artifact_probability(outputs, [1], size)[0], expected, atol=1e-5)


@torch.no_grad()
def test_a_patch_takes_the_mean_of_the_average_and_the_maximum(folder):
    made = mapper(folder, grid=2)
    for image in pictures(*SIZES):
        pixels = made.processor(images=image, return_tensors="pt")["pixel_values"]
        (plane,) = artifact_probability(made.model(pixel_values=pixels), [1], tuple(pixels.shape[-2:])).numpy()
        height, width = (side // 2 for side in plane.shape)
        part = plane[:height, width:]
        assert made([image])[0].values[0, 1] == pytest.approx(1 - (part.mean() + part.max()) / 2, abs=1e-5)


def test_an_image_scores_the_same_in_any_batch(folder):
    images = pictures(*SIZES, *SIZES)
    alone = [mapper(folder, batch_size=3)([image])[0] for image in images]
    assert mapper(folder, batch_size=3)(images) == alone
    assert mapper(folder, batch_size=3)(images[::-1]) == alone[::-1]
    assert len(set(alone[: len(SIZES)])) == len(SIZES)


def test_classes_are_found_by_name_and_a_missing_one_names_those_there_are(folder):
    (image,) = pictures((64, 64))
    one, two = (mapper(folder, classes)([image])[0] for classes in (["ARTIFACT "], ["blur", "artifact"]))
    assert (two.values <= one.values).all()
    assert two.score < one.score
    with pytest.raises(UserError) as caught:
        mapper(folder, ["artifact", "hands"])
    assert str(caught.value).endswith("has no class hands; its classes: background, Artifact, blur")
    assert "\n" not in str(caught.value)


def test_what_is_no_segmentation_model_is_one_line(tmp_path):
    config = SegformerConfig(
        hidden_sizes=[8, 8], depths=[1, 1], num_attention_heads=[1, 1], num_encoder_blocks=2,
        patch_sizes=[7, 3], strides=[4, 2], sr_ratios=[2, 1], mlp_ratios=[2, 2],
    )  # fmt: skip
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text('{"model_type": "clip", "id2label": {"1": "artifact"}}')
    SegformerForImageClassification(config).save_pretrained(tmp_path / "headless")
    for name, classes, expected in [
        ("none", ["artifact"], "its weights are not at|no folder"),
        ("empty", ["artifact"], "config.json is missing"),
        ("broken", ["artifact"], "is not a semantic segmentation model of transformers: "),
        ("clip", ["artifact"], "is not a semantic segmentation model of transformers but of type clip"),
        ("headless", ["LABEL_1"], "is not a semantic segmentation model of transformers: "),
        ("empty", [], "classes: Tuple should have at least 1 item"),
    ]:
        with pytest.raises(UserError, match=expected) as caught:
            mapper(tmp_path / name, classes)
        assert "\n" not in str(caught.value)


def test_options_are_checked_before_anything_starts():
    with pytest.raises(UserError, match="classes: Field required"):
        check_backends(MapperSettings(name="segmentation", weights="owner/model"), [], [])


def test_without_transformers_the_extra_is_named():
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from qrefine.config import MapperSettings\n"
        "from qrefine.models.registry import load_mapper\n"
        "load_mapper(MapperSettings(name='segmentation'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'qrefine[diffusion]'" in done.stderr.splitlines()[-1]


class Bright:
    """Answers that everything bright is an artifact: where things are, through each kind of preparation."""

    def __call__(self, pixel_values):
        bright = torch.where(pixel_values.mean(1, keepdim=True) > 0.5, 20.0, -20.0)
        return SimpleNamespace(logits=torch.cat([-bright, bright], 1))


PROCESSORS = [
    SQUARE,
    Mask2FormerImageProcessorPil(size=EDGES),
    Mask2FormerImageProcessorPil(size=EDGES, size_divisor=1, pad_size={"height": 256, "width": 256}),
    MaskFormerImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 100}),
    MobileViTImageProcessorPil(size={"shortest_edge": 96}, crop_size={"height": 64, "width": 64}),
]


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    model, processor = segformer()
    path = tmp_path_factory.mktemp("bright")
    model.save_pretrained(path)
    processor.save_pretrained(path)
    made = mapper(path, grid=4)
    made.model, made.artifacts = Bright(), [1]
    return made


@budget(max_examples=40, deadline=None)
@given(
    number=st.integers(0, len(PROCESSORS) - 1),
    row=st.integers(0, 3),
    column=st.integers(0, 3),
    height=st.integers(64, 200),
    width=st.integers(64, 200),
)
def test_the_patch_that_holds_the_artifact_is_the_one_that_is_poor(bright, number, row, column, height, width):
    bright.processor = PROCESSORS[number]
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = edges(height, 4), edges(width, 4)
    image[rows[row] + 4 : rows[row + 1] - 4, columns[column] + 4 : columns[column + 1] - 4] = 255
    (found,) = bright([image])
    poor = np.zeros((4, 4), bool)
    poor[row, column] = True
    assert ((found.values < 0.5) == poor).all()
    assert found.values[~poor].min() > 0.9


def test_a_model_of_one_class_answers_by_its_sigmoid():
    logits = torch.tensor([[[[0.0, 4.0], [-4.0, 0.0]]]])
    assert torch.allclose(
        artifact_probability(SimpleNamespace(logits=logits), [0], (2, 2)), logits[:, 0].sigmoid()
    )
