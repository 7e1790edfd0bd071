"""LoRAs and ControlNets: equal to diffusers by hand, and one line for what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")
pytest.importorskip("peft", reason="the extra qrefine[diffusion] is not installed")

import peft
from diffusers import (
    AutoPipelineForImage2Image,
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetImg2ImgPipeline,
)

from qrefine.config import Backend
from qrefine.errors import UserError
from qrefine.models.diffusion.img2img import DiffusersRestorer, deterministic_encoder
from qrefine.models.registry import load_restorer
from tests.models.diffusion.tiny import saved

STEPS = 5
EULER = "EulerDiscreteScheduler"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lora(folder, family, name, seed=0):
    """A random LoRA of the family's U-Net or transformer, in the layout that diffusers writes."""
    pipe = AutoPipelineForImage2Image.from_pretrained(saved(family), local_files_only=True)
    model = getattr(pipe, "unet", None) or pipe.transformer
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    torch.manual_seed(seed)
    for key, parameter in model.named_parameters():
        if "lora" in key:
            torch.nn.init.normal_(parameter, std=0.3)
    layers = peft.get_peft_model_state_dict(model)
    part = "unet_lora_layers" if hasattr(pipe, "unet") else "transformer_lora_layers"
    pipe.save_lora_weights(folder, **{part: layers}, weight_name=name, safe_serialization=True)
    return folder / name


def control(folder, family):
    torch.manual_seed(5)
    unet = AutoPipelineForImage2Image.from_pretrained(saved(family), local_files_only=True).unet
    network = ControlNetModel.from_unet(unet)
    for key, parameter in network.named_parameters():
        if "controlnet" in key:  # zero at first
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder, safe_serialization=True)
    return folder


def picture():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def ours(family, **options):
    model = DiffusersRestorer(
        str(saved(family)), steps=STEPS, device="cpu", batch_size=1, scheduler=EULER, **options
    )
    plane = np.full((64, 64), model.levels()[3], np.float32)
    (result,) = model([picture()], [plane], ["a dog"], [1])
    return result


def by_hand(pipe, **call):
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pixels = torch.from_numpy(picture()).permute(2, 0, 1)[None] / 255
    if "controlnet_conditioning_scale" in call:
        call["control_image"] = pixels
    with deterministic_encoder(pipe.vae):
        (result,) = pipe(
            prompt=["a dog"],
            image=pixels,
            strength=0.6,
            num_inference_steps=STEPS,
            generator=[torch.Generator().manual_seed(1)],
            output_type="np",
            **call,
        ).images
    return np.rint(result * 255).astype(np.uint8)


def apart(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_loras_are_what_diffusers_makes_of_them(tmp_path, family):
    one, two = lora(tmp_path, family, "one.safetensors"), lora(tmp_path, family, "two.safetensors", seed=1)
    result = ours(
        family,
        loras=[{"weights": str(one), "scale": 0.5}, {"weights": str(tmp_path), "file": "two.safetensors"}],
    )
    pipe = AutoPipelineForImage2Image.from_pretrained(saved(family), local_files_only=True)
    pipe.load_lora_weights(str(one), adapter_name="a")
    pipe.load_lora_weights(str(two), adapter_name="b")
    pipe.set_adapters(["a", "b"], [0.5, 1.0])
    assert apart(result, by_hand(pipe)) <= 1
    assert apart(result, ours(family)) > 8  # and the model without them is another one, still as it was


def test_fused_once_the_networks_have_their_own_shapes(tmp_path):
    given = [{"weights": str(lora(tmp_path, "sdxl", "one.safetensors"))}]
    first, second = (
        DiffusersRestorer(str(saved("sdxl")), device="cpu", steps=steps, loras=given) for steps in (5, 6)
    )
    assert first.pipe.unet is second.pipe.unet
    assert not any("lora" in name for name, _ in first.pipe.unet.named_parameters())


@pytest.mark.parametrize(
    ("family", "cls"),
    [("sd", StableDiffusionControlNetImg2ImgPipeline), ("sdxl", StableDiffusionXLControlNetImg2ImgPipeline)],
)
def test_a_controlnet_is_what_diffusers_makes_of_it(tmp_path, family, cls):
    folder = control(tmp_path / "control", family)
    result = ours(family, controlnet={"weights": str(folder), "scale": 0.7})
    pipe = cls.from_pretrained(
        saved(family), controlnet=ControlNetModel.from_pretrained(folder), local_files_only=True
    )
    assert apart(result, by_hand(pipe, controlnet_conditioning_scale=0.7)) <= 1
    assert apart(result, ours(family)) > 4


def test_the_same_pixels_in_any_batch_with_a_controlnet(tmp_path):
    folder = control(tmp_path / "control", "sdxl")
    model = DiffusersRestorer(
        str(saved("sdxl")), steps=STEPS, device="cpu", batch_size=3, controlnet={"weights": str(folder)}
    )
    images = list(np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8))
    planes = [np.full((64, 64), s, np.float32) for s in (0.3, 0.6, 1.0)]
    together = model(images, planes, ["a", "", "c"], [1, 2, 3])
    for i in range(3):
        (alone,) = model([images[i]], [planes[i]], [["a", "", "c"][i]], [i + 1])
        assert np.array_equal(alone, together[i])


def test_a_controlnet_of_a_file_fits_a_model_made_in_python(tmp_path):
    pipe = AutoPipelineForImage2Image.from_pretrained(saved("sdxl"), local_files_only=True)
    pipe.unet.register_to_config(block_out_channels=tuple(pipe.unet.config.block_out_channels))
    folder = control(tmp_path / "control", "sdxl")
    DiffusersRestorer(pipe, steps=STEPS, scheduler=EULER, controlnet={"weights": str(folder)})


def wrong(tmp_path, what):
    """Family, options, and what the error must say."""
    if what == "missing":
        return "sdxl", {"loras": [{"weights": str(tmp_path / "none.safetensors")}]}, "no file"
    if what == "missing in folder":
        return "sdxl", {"loras": [{"weights": str(tmp_path), "file": "none.safetensors"}]}, "no file"
    if what == "garbage":
        (tmp_path / "bad.safetensors").write_bytes(b"\x80" * 100)
        return "sdxl", {"loras": [{"weights": str(tmp_path / "bad.safetensors")}]}, "does not fit"
    if what == "other family":
        path = lora(tmp_path, "flux", "flux.safetensors")
        return "sdxl", {"loras": [{"weights": str(path)}]}, "does not fit StableDiffusionXLImg2ImgPipeline"
    if what == "other size":
        path = lora(tmp_path, "sd", "sd.safetensors")
        return "sdxl", {"loras": [{"weights": str(path)}]}, "does not fit"
    if what == "controlnet of another family":
        folder = control(tmp_path / "control", "sd")
        return "sdxl", {"controlnet": {"weights": str(folder)}}, "is not for StableDiffusionXL"
    if what == "controlnet for a transformer":
        folder = control(tmp_path / "control", "sd")
        return "zimage", {"controlnet": {"weights": str(folder)}}, "has no U-Net"
    if what == "missing controlnet":
        return "sdxl", {"controlnet": {"weights": str(tmp_path / "none")}}, "no folder"
    return "sdxl", {"scheduler_config": {"spacing": 1}}, "has no 'spacing'"


@pytest.mark.parametrize(
    "what",
    [
        "missing", "missing in folder", "garbage", "other family", "other size", "controlnet of another family",
        "controlnet for a transformer", "missing controlnet", "scheduler",
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_before_any_image(tmp_path, what):
    family, options, expected = wrong(tmp_path, what)
    with pytest.raises(UserError) as caught:
        load_restorer(Backend(name="diffusers", weights=str(saved(family)), options={"device": "cpu", **options}))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    # the model itself is not spoilt for those that come after
    load_restorer(Backend(name="diffusers", weights=str(saved("sdxl")), options={"device": "cpu"}))
