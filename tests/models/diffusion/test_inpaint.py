"""Mode paper: native inpainting, equal to calling diffusers by hand."""

from __future__ import annotations

import shutil

import numpy as np
import PIL.Image
import pytest
import torch

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")

from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, StableDiffusionInpaintPipeline

from qrefine.config import Backend, parse_config
from qrefine.errors import NotFiniteError, UserError
from qrefine.models.diffusion.img2img import DiffusersRestorer
from qrefine.models.diffusion.inpaint import NativeInpainter
from qrefine.models.diffusion.levels import active_steps
from qrefine.models.registry import load_restorer
from qrefine.stages.crops import defect_crops
from qrefine.stages.refiner import Refiner
from tests.models.diffusion.tiny import EXAMPLES, FAMILIES, saved

PROMPTS = ["a dog", "a red cat", "hills, sun"]
SEEDS = [1, 2, 3]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
    planes = [np.zeros((64, 64), np.float32) for _ in range(3)]
    for i, plane in enumerate(planes):
        plane[10:40, 8 * i : 30 + i] = 0.6
    return images, planes


def by_hand(pipe, image, plane, strength, prompt, seed, call):
    (result,) = pipe(
        prompt=prompt,
        image=PIL.Image.fromarray(image),
        mask_image=PIL.Image.fromarray(((plane > 0) * 255).astype(np.uint8)),
        strength=strength,
        num_inference_steps=5,
        generator=[torch.Generator().manual_seed(seed)],
        output_type="np",
        height=64,
        width=64,
        **call,
    ).images
    return np.where(plane[..., None] > 0, np.rint(result * 255).astype(np.uint8), image)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_native_inpainting_is_what_diffusers_does_by_hand(family, batch_size):
    images, planes = pictures()
    model = NativeInpainter(str(saved(family)), steps=5, batch_size=batch_size, device="cpu")
    results = model(images, planes, PROMPTS, SEEDS)
    k = int(active_steps(np.array([0.6]), model.calls.levels((64, 64)))[0])
    pipe = AutoPipelineForInpainting.from_pretrained(saved(family), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    for image, plane, prompt, seed, result in zip(images, planes, PROMPTS, SEEDS, results, strict=True):
        expected = by_hand(pipe, image, plane, k / 5, prompt, seed, EXAMPLES[family])
        assert np.abs(result.astype(int) - expected).max() <= 1  # two loads of one file may sum in another order
        assert (result != expected).mean() < 1e-3
        assert (result != image)[plane > 0].mean() > 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("cls", [NativeInpainter, DiffusersRestorer])
def test_values_that_are_not_finite_are_an_error_and_no_pixels(tmp_path, cls, value):
    images, planes = pictures()
    folder = shutil.copytree(saved("sdxl"), tmp_path / "sdxl")  # a network of its own
    model = cls(str(folder), steps=5, device="cpu")
    with torch.no_grad():
        model.pipe.vae.decoder.conv_out.bias[0] = value
    with pytest.raises(NotFiniteError):
        model(images[:1], planes[:1], PROMPTS[:1], SEEDS[:1])


def test_white_is_repainted_and_black_is_kept():
    images, planes = pictures()
    (result,) = NativeInpainter(str(saved("sdxl")), steps=5, device="cpu")(
        images[:1], planes[:1], PROMPTS[:1], SEEDS[:1]
    )
    assert np.array_equal(result[planes[0] == 0], images[0][planes[0] == 0])


def test_the_same_pixels_in_any_batch():
    model = NativeInpainter(str(saved("sdxl")), steps=5, batch_size=2, device="cpu")
    images, planes = pictures()
    together = model(images, planes, PROMPTS, SEEDS)
    for i in range(3):
        (alone,) = model([images[i]], [planes[i]], [PROMPTS[i]], [SEEDS[i]])
        assert np.array_equal(alone, together[i])


def test_a_network_for_inpainting_alone_is_taken_by_this_backend_only(tmp_path):
    stock = AutoPipelineForInpainting.from_pretrained(saved("sd"), local_files_only=True)
    torch.manual_seed(0)
    unet = type(stock.unet).from_config({**stock.unet.config, "in_channels": 9})
    StableDiffusionInpaintPipeline(**{**stock.components, "unet": unet}).save_pretrained(tmp_path)
    images, planes = pictures()
    (result,) = NativeInpainter(str(tmp_path), steps=4, device="cpu")(images[:1], planes[:1], ["a"], [0])
    assert (result != images[0])[planes[0] > 0].any()
    with pytest.raises(UserError, match="name the backend diffusers_inpaint"):
        load_restorer(Backend(name="diffusers", weights=str(tmp_path), options={"device": "cpu"}))


def test_whole_images_by_default_and_crops_where_asked():
    plane = np.zeros((100, 64), np.float32)
    plane[10:20, 10:20] = 1
    weights = str(saved("sdxl"))
    own = defect_crops(plane, NativeInpainter(weights, device="cpu", crop_area="image"))
    assert [crop.size for crop in own] == [(100, 64)]
    tiles = defect_crops(plane, NativeInpainter(weights, device="cpu"))
    assert {crop.size for crop in tiles} == {(64, 64)}  # the model is no larger
    assert {crop.defect for crop in tiles} == {(0, 0, 100, 64)}
    (crop,) = defect_crops(plane, NativeInpainter(weights, device="cpu", crops=True, context=4))
    assert crop.defect == (6, 6, 24, 24)


def test_it_shares_its_networks_with_image_to_image():
    inpainter = NativeInpainter(str(saved("sdxl")), device="cpu")
    enhancer = DiffusersRestorer(str(saved("sdxl")), device="cpu")
    assert inpainter.pipe.unet is enhancer.pipe.unet
    assert isinstance(enhancer.pipe, type(AutoPipelineForImage2Image.from_pipe(inpainter.pipe)))


def test_the_paper_to_the_letter_runs_on_a_diffusion_model():
    weights = str(saved("sdxl"))
    config = parse_config(
        {
            "mode": "paper",
            "mapper": {"name": "piqe", "grid": 4},
            "bounds": {"lq": 0.5, "mq": 0.9, "hq": 0.95},
            "judges": [],
            "inpaint": {"name": "diffusers_inpaint", "weights": weights, "options": {"steps": 4}},
            "enhance": {
                "blind": {"name": "classical"},
                "prompt": {"name": "diffusers", "weights": weights, "options": {"steps": 4}},
            },
        }
    )
    noisy = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    (result,) = Refiner(config)([noisy], ["a dog"])
    assert result.error is None
    assert result.status in ("kept", "refined")


def test_a_missing_model_is_one_line():
    with pytest.raises(UserError, match="no folder /absent/model") as caught:
        load_restorer(Backend(name="diffusers_inpaint", weights="/absent/model"))
    assert "\n" not in str(caught.value)
