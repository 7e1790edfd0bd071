"""Mode fused on every family: tiny models in the public layout, stock diffusers by hand as the reference."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")

from diffusers import AutoPipelineForImage2Image

from qrefine.config import Backend, parse_config
from qrefine.errors import UserError
from qrefine.models.diffusion.batches import Batches
from qrefine.models.diffusion.families import FAMILIES as KNOWN
from qrefine.models.diffusion.families import scaled_sizes
from qrefine.models.diffusion.img2img import DiffusersRestorer, deterministic_encoder
from qrefine.models.diffusion.levels import active_steps, latent_steps
from qrefine.models.registry import load_restorer
from qrefine.stages.refiner import Refiner
from tests.models.diffusion.tiny import EXAMPLES, FAMILIES, PIPELINES, saved

PROMPTS = ["a dog", "a red cat in the sun, with trees behind it", "", "hi"]
SEEDS = [1, 2, 3, 4]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def restorer(family, **options):
    settings = {"steps": 5, "batch_size": 3, "buckets": [[64, 64]], "device": "cpu"}
    if family == "sd":
        settings["scheduler"] = "EulerDiscreteScheduler"  # its own makes two model calls in one of its steps
    return DiffusersRestorer(str(saved(family)), **{**settings, **options})


def pictures(count=4, side=64):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]
    planes = []
    for i in range(count):
        plane = np.zeros((side, side), np.float32)
        plane[8:40, 16 : 30 + 8 * i] = np.linspace(0.1, 0.4 + 0.2 * i, 32)[:, None].clip(0, 1)
        planes.append(plane)
    return images, planes


@contextmanager
def seen_batches(model, most=100, side=1000):
    """The shapes of batches in the U-Net; memory runs out above ``most`` images, or beyond ``side`` pixels."""
    shapes = []

    def look(module, arguments):
        *_, height, width = arguments[0].shape
        shape = (len(model.pipe.scheduler.job.seeds), height * 8, width * 8)
        if shape[0] > most or shape[1] > side:
            shapes.append(shape)
            raise torch.OutOfMemoryError("CUDA out of memory")
        if model.pipe.scheduler.step_index == model.pipe.scheduler.begin_index:
            shapes.append(shape)

    hook = model.pipe.unet.register_forward_pre_hook(look)
    try:
        yield shapes
    finally:
        hook.remove()


def levels(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_changes_the_defect_and_nothing_else(family):
    model = restorer(family)
    assert type(model.pipe).__name__ == PIPELINES[family]
    images, planes = pictures()
    results = model(images, planes, PROMPTS, SEEDS)
    for image, plane, result in zip(images, planes, results, strict=True):
        assert np.array_equal(result[plane == 0], image[plane == 0])
        assert (result != image)[plane > 0].mean() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_pixels_in_any_batch(family):
    model = restorer(family)
    images, planes = pictures()
    together = model(images, planes, PROMPTS, SEEDS)
    reversed_ = model(images[::-1], planes[::-1], PROMPTS[::-1], SEEDS[::-1])[::-1]
    for i in range(4):
        (alone,) = model([images[i]], [planes[i]], [PROMPTS[i]], [SEEDS[i]])
        assert np.array_equal(alone, together[i])
        assert np.array_equal(reversed_[i], together[i])


@pytest.mark.parametrize(
    "scheduler",
    ["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler", "DDIMScheduler"],
)
def test_schedulers_with_a_memory_or_with_noise_of_their_own_give_the_same_pixels_in_any_batch(scheduler):
    model = restorer("sdxl", scheduler=scheduler)
    images, planes = pictures()
    together = model(images, planes, PROMPTS, SEEDS)
    for i in range(4):
        (alone,) = model([images[i]], [planes[i]], [PROMPTS[i]], [SEEDS[i]])
        assert np.array_equal(alone, together[i])
        assert not np.array_equal(together[i], images[i])


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_agree_with_single_runs(family):
    """The issue's bound is 1e-4 of the range; that is less than one of 255 levels apart, rounding included."""
    images, planes = pictures()
    together = restorer(family)(images, planes, PROMPTS, SEEDS)
    single = restorer(family, batch_size=1)(images, planes, PROMPTS, SEEDS)
    for a, b in zip(together, single, strict=True):
        assert levels(a, b) <= 1
        assert (a != b).mean() < 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_one_strength_everywhere_is_stock_image_to_image(family):
    images, _ = pictures(2)
    model = restorer(family, batch_size=1)
    planes = [np.full((64, 64), model.levels()[3], np.float32)] * 2
    results = model(images, planes, PROMPTS[:2], SEEDS[:2])
    stock = AutoPipelineForImage2Image.from_pretrained(saved(family), local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    if family == "sd":
        from diffusers import EulerDiscreteScheduler

        stock.scheduler = EulerDiscreteScheduler.from_config(stock.scheduler.config)
    for i, result in enumerate(results):
        with deterministic_encoder(stock.vae):
            sides = {} if family in ("sd", "sdxl") else {"height": 64, "width": 64}
            (expected,) = stock(
                prompt=[PROMPTS[i]],
                image=torch.from_numpy(images[i]).permute(2, 0, 1)[None] / 255,
                strength=0.6,
                num_inference_steps=5,
                generator=[torch.Generator().manual_seed(SEEDS[i])],
                output_type="np",
                **sides,
                **EXAMPLES[family],
            ).images
        assert levels(result, np.rint(expected * 255).astype(np.uint8)) <= 1


def test_latents_of_strength_zero_come_back_to_the_bit():
    model = restorer("sdxl")
    images, planes = pictures(3)
    ends = []
    cls = type(model.pipe.scheduler)
    enter, step = cls.add_noise, cls.step

    def source_of(scheduler, source, *args):
        ends.append((scheduler.job, source.clone()))
        return enter(scheduler, source, *args)

    def end_of(scheduler, *args, **kwargs):
        result = step(scheduler, *args, **kwargs)
        ends.append((scheduler.job, result[0].clone()))
        return result

    cls.add_noise, cls.step = source_of, end_of
    model(images, planes, ["a", "b", "c"], SEEDS[:3])
    (job, source), (_, latents) = ends[0], ends[-1]
    still = (job.steps == 0)[:, None].expand_as(latents)
    assert still.any()
    assert not still.all()
    assert torch.equal(latents[still], source[still])
    assert (latents[~still] != source[~still]).float().mean() > 0.99
    assert not job.waiting


def test_a_family_that_is_not_known_is_given_the_prompts(monkeypatch):
    images, planes = pictures(2)
    expected = restorer("sdxl", negative_prompt="blur")(images, planes, PROMPTS[:2], SEEDS[:2])
    monkeypatch.delitem(KNOWN, "StableDiffusionXL")
    model = restorer("sdxl", negative_prompt="blur")
    assert model.text("a dog") == {"prompt": "a dog", "negative_prompt": "blur"}
    for a, b in zip(model(images, planes, PROMPTS[:2], SEEDS[:2]), expected, strict=True):
        assert levels(a, b) <= 1


def test_context_grows_with_the_model():
    assert restorer("sdxl", context=None).context == 4  # a tiny model of 64 pixels
    assert restorer("sdxl", context=7).context == 7


def test_strength_zero_everywhere_is_the_input_itself_and_costs_no_model_call():
    model = restorer("sdxl")
    counted = []
    model.pipe.unet.register_forward_hook(lambda *_: counted.append(1))
    images, _ = pictures(2)
    results = model(images, [np.zeros((64, 64), np.float32)] * 2, ["a", "b"], [1, 2])
    assert not counted
    assert all(result is image for result, image in zip(results, images, strict=True))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_mild_batch_enters_the_schedule_late(k):
    model = restorer("sdxl")
    counted = []
    model.pipe.unet.register_forward_hook(lambda *_: counted.append(1))
    images, _ = pictures(1)
    model(images, [np.full((64, 64), model.levels()[k], np.float32)], ["a"], [1])
    assert len(counted) == k


def test_images_are_grouped_by_size_and_odd_sizes_are_padded():
    model = restorer("sdxl")
    rng = np.random.default_rng(1)
    sizes = [(64, 64), (50, 70), (128, 64), (33, 64)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    planes = [np.full(size, 0.5, np.float32) for size in sizes]
    results = model(images, planes, PROMPTS, SEEDS)
    assert [result.shape for result in results] == [image.shape for image in images]
    (alone,) = model(images[1:2], planes[1:2], PROMPTS[1:2], SEEDS[1:2])
    assert np.array_equal(alone, results[1])


def test_seed_and_prompt_matter():
    model = restorer("sdxl", call={"guidance_scale": 7.0})
    images, planes = pictures(1)
    first, other_seed, other_prompt = (
        model(images, planes, [prompt], [seed])[0] for prompt, seed in (("a dog", 1), ("a dog", 2), ("sea", 1))
    )
    assert not np.array_equal(first, other_seed)
    assert not np.array_equal(first, other_prompt)


def test_a_negative_prompt_matters_where_guidance_uses_it():
    images, planes = pictures(1)
    for family, call in (("sdxl", {"guidance_scale": 7.0}), ("qwen", {"true_cfg_scale": 4.0})):
        plain, negative = (
            restorer(family, negative_prompt=words, call=call)(images, planes, ["a dog"], [1])[0]
            for words in (" ", "blurred, broken")
        )
        assert not np.array_equal(plain, negative)


def test_a_prompt_is_encoded_once():
    model = restorer("sdxl", prompts_kept=2)
    counted = []
    model.pipe.text_encoder.register_forward_hook(lambda *_: counted.append(1))
    images, planes = pictures(3)
    model(images, planes, ["a", "a", "b"], [1, 2, 3])
    before = len(counted)
    model(images, planes, ["b", "a", "a"], [1, 2, 3])
    assert len(counted) == before
    model(images, planes, ["c", "d", "a"], [1, 2, 3])
    assert len(counted) > before
    before = len(counted)
    model(images, planes, ["d", "a", "a"], [1, 2, 3])  # the last two are kept
    assert len(counted) == before
    model(images, planes, ["c", "d", "a"], [1, 2, 3])
    assert len(counted) > before


def test_two_backends_on_the_same_weights_share_their_networks():
    one, two = restorer("sdxl"), restorer("sdxl", steps=8)
    assert one.pipe.unet is two.pipe.unet
    assert one.pipe.scheduler is not two.pipe.scheduler


@pytest.mark.parametrize("family", ["sdxl", "qwen"])
def test_threads_with_models_of_their_own_give_the_same_pixels(family):
    """As in a run in this process: each worker's thread loads its models and uses them."""
    images, planes = pictures()
    options = {"steps": 3, "batch_size": 1, "buckets": [[64, 64]], "device": "cpu"}
    backend = Backend(name="diffusers", weights=str(saved(family)), options=options)
    expected = load_restorer(backend)(images, planes, PROMPTS, SEEDS)
    together = Barrier(2)

    def work(_):
        torch.set_num_threads(1)
        together.wait()
        model = load_restorer(backend)
        together.wait()
        return [model(images, planes, PROMPTS, SEEDS) for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        for rounds in pool.map(work, range(2)):
            for results in rounds:
                assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))


def test_out_of_memory_halves_the_batch_and_remembers(caplog):
    model = restorer("sdxl", batch_size=4)
    images, planes = pictures()
    expected = restorer("sdxl", batch_size=1)(images, planes, PROMPTS, SEEDS)
    with seen_batches(model, most=1) as shapes:
        results = model(images, planes, PROMPTS, SEEDS)
        assert [shape[0] for shape in shapes] == [4, 2, 1, 1, 1, 1]
        assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))
        shapes.clear()
        model(images, planes, PROMPTS, SEEDS)
        assert [shape[0] for shape in shapes] == [1, 1, 1, 1]
    assert caplog.text.count("out of memory") == 2


@pytest.mark.parametrize(("exact", "expected"), [(True, [4, 4]), (False, [4, 2])])
def test_the_last_batch_is_filled_up_or_nearly(exact, expected):
    model = restorer("sdxl", batch_size=4, exact=exact)
    images, planes = pictures(6)
    with seen_batches(model) as shapes:
        results = model(images, planes, ["a"] * 6, list(range(6)))
    assert [shape[0] for shape in shapes] == expected
    for result, single in zip(
        results, restorer("sdxl", batch_size=1)(images, planes, ["a"] * 6, list(range(6))), strict=True
    ):
        assert levels(result, single) <= 1


def test_smaller_images_make_larger_batches():
    batches = Batches(4, (1024, 1024))
    assert [batches.size_of((side, side)) for side in (2048, 1024, 896, 768, 512, 64)] == [1, 4, 5, 7, 8, 8]


def test_an_image_that_fits_in_no_batch_fails_alone():
    config = parse_config(
        {
            "mapper": {"name": "piqe", "grid": 4},
            "bounds": {"lq": 0.9, "mq": 1.0, "hq": 1.0},
            "judges": [],
            "inpaint": {
                "name": "diffusers",
                "weights": str(saved("sdxl")),
                "options": {"steps": 3, "buckets": [[64, 64], [128, 128]], "context": 0, "crop_area": "image"},
            },
            "enhance": {"blind": {"name": "classical"}},
            "stages": ["inpaint"],
        }
    )
    refiner = Refiner(config)
    rng = np.random.default_rng(0)
    small, large = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (64, 128))
    with seen_batches(refiner.stages[1].restorer, side=64):
        results = refiner([small, large], ["a", "b"])
    assert results[0].status in ("kept", "refined")
    assert results[1].status == "failed"
    assert "out of memory" in results[1].error


def test_the_whole_method_runs_on_a_diffusion_model():
    backend = {"name": "diffusers", "weights": str(saved("sdxl")), "options": {"steps": 4, "buckets": [[64, 64]]}}
    refiner = Refiner(
        parse_config(
            {
                "mapper": {"name": "piqe", "grid": 4},
                "bounds": {"lq": 0.5, "mq": 0.9, "hq": 0.95},
                "judges": [],
                "inpaint": backend,
                "enhance": {"blind": backend, "prompt": backend},
            }
        )
    )
    enhance = next(stage for stage in refiner.stages if type(stage).__name__ == "Enhance")
    inpaint = next(stage for stage in refiner.stages if type(stage).__name__ == "Inpaint")
    assert enhance.blind is inpaint.restorer is enhance.prompt
    noisy = np.random.default_rng(0).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    (result,) = refiner([noisy], ["a dog"])
    assert result.status in ("kept", "refined")
    assert result.error is None


def broken(tmp_path, what):
    folder = tmp_path / "model"
    if what == "empty":
        folder.mkdir()
        return str(folder), "model_index.json is missing"
    if what == "absent":
        return str(folder), f"no folder {folder}"
    if what == "file":
        folder.write_bytes(b"weights")
        return str(folder), "is a file"
    if what == "none":
        return None, "weights are needed"
    shutil.copytree(saved("sd"), folder)
    if what == "pickle":
        weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
        return str(folder), "safetensors"
    if what == "damaged":
        (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 64)
        return str(folder), str(folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "AudioLDMPipeline"}))
    return str(folder), "AudioLDMPipeline"


@pytest.mark.parametrize("what", ["empty", "absent", "file", "none", "pickle", "damaged", "kind"])
def test_a_missing_or_wrong_model_is_one_line_that_says_what_was_looked_for_and_where(tmp_path, what):
    weights, expected = broken(tmp_path, what)
    with pytest.raises(UserError) as caught:
        load_restorer(Backend(name="diffusers", weights=weights, options={"device": "cpu"}))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("sd", {"scheduler": None}, "PNDMScheduler does not make one model call per step"),
        ("sdxl", {"scheduler": "HeunDiscreteScheduler"}, "HeunDiscreteScheduler"),
        ("sdxl", {"scheduler": "FlowMatchEulerDiscreteScheduler"}, "is not for StableDiffusionXLImg2Img"),
        ("sd3", {"scheduler": "UniPCMultistepScheduler"}, "UniPCMultistepScheduler is not for StableDiffusion3"),
        ("sdxl", {"scheduler": "LCMScheduler", "steps": 60}, "is smaller than `num_inference_steps`: 60"),
        ("flux", {"call": {"max_sequence_length": 600}}, "cannot be greater than 512"),
        ("sdxl", {"scheduler": "NoScheduler"}, "'NoScheduler' is no scheduler of diffusers"),
        ("sdxl", {"steps": 0}, "steps: .*allowed: >= 1 and <= 1000"),
        ("sdxl", {"buckets": [[64, 60]]}, r"bucket \[64, 60\]: expected \[height, width\] in multiples of 64"),
        ("sdxl", {"buckets": []}, "buckets: .* at least 1 item"),
        ("sdxl", {"call": {"guidanec_scale": 3}}, "takes no 'guidanec_scale'"),
        ("sdxl", {"call": {"strength": 1}}, "takes no 'strength'"),
        ("sdxl", {"call": {"negative_prompt": "blurred"}}, "takes no 'negative_prompt'"),
        ("sdxl", {"call": {"num_images_per_prompt": 2}}, "takes no 'num_images_per_prompt'"),
        ("sdxl", {"call": {"denoising_start": 0.5}}, "takes no 'denoising_start'"),
        ("sdxl", {"dtype": "int8"}, "dtype: Input should be 'bfloat16', 'float16' or 'float32', got 'int8'"),
        ("sdxl", {"crops": True}, "crops: unknown option"),
        ("sdxl", {"batch_size": -1}, "batch_size: .*allowed: >= 1 and <= 1024"),
    ],
)
def test_wrong_options_are_named(family, options, expected):
    with pytest.raises(ValueError, match=expected):
        restorer(family, **options)


def test_a_latent_does_what_its_strongest_pixel_asks():
    plane = np.zeros((1, 16, 16), np.float32)
    plane[0, 3, 9] = 0.5
    steps = active_steps(plane, np.linspace(0, 1, 11))
    assert latent_steps(steps, 8).tolist() == [[[0, 5], [0, 0]]]


def test_sizes_for_the_images_own_resolution_are_those_of_the_model_and_smaller():
    assert scaled_sizes(1024, 64) == (
        (512, 512), (512, 1024), (640, 640), (768, 768), (1024, 512), (1024, 1024),
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_the_loop_never_waits_for_the_gpu(family):
    """From the first step to the last nothing on the host asks for a value that is still being computed."""
    model = restorer(family, device="cuda", dtype="bfloat16")
    images, planes = pictures(3)
    model(images, planes, PROMPTS[:3], SEEDS[:3])
    scheduler = type(model.pipe.scheduler)
    step = scheduler.step

    def watched(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        last = self.job.at == self.job.total
        torch.cuda.set_sync_debug_mode("default" if last else "error")
        return result

    scheduler.step = watched
    try:
        model(images, planes, PROMPTS[:3], SEEDS[:3])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_pixels_in_any_batch_on_a_gpu(family):
    model = restorer(family, device="cuda")
    images, planes = pictures()
    together = model(images, planes, PROMPTS, SEEDS)
    for i in range(4):
        (alone,) = model([images[i]], [planes[i]], [PROMPTS[i]], [SEEDS[i]])
        assert np.array_equal(alone, together[i])


@pytest.mark.gpu
def test_compiled_blocks_agree_with_the_others(tmp_path):
    images, planes = pictures()
    plain = restorer("sdxl", device="cuda", dtype="float32")(images, planes, PROMPTS, SEEDS)
    folder = shutil.copytree(saved("sdxl"), tmp_path / "sdxl")  # compiled networks of its own
    compiled = DiffusersRestorer(
        str(folder), steps=5, batch_size=3, buckets=[[64, 64]], device="cuda", dtype="float32", compile=True
    )
    for a, b in zip(compiled(images, planes, PROMPTS, SEEDS), plain, strict=True):
        assert levels(a, b) <= 1
