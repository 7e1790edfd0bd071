"""Each family as its authors run it: sizes, guidance, tokens, noise levels; from outside, on tiny models."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")

import diffusers

from qrefine.models.base import FixedSizes, NoiseLevels
from qrefine.models.diffusion.families import WIDE, aspect_buckets, like_native, native_side, native_sizes
from qrefine.models.diffusion.img2img import DiffusersRestorer
from qrefine.models.diffusion.levels import active_steps, levels_of
from tests.models.diffusion.table import NATIVE, STEPS, STRENGTHS, row, tiny
from tests.models.diffusion.tiny import FAMILIES, saved

TOKENS = {"sd": 77, "sdxl": 77, "sd3": 77 + 256, "flux": 512}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_run_as_its_authors_run_it(family):
    found = row(family)
    assert found.fed == (NATIVE[family],) * 2
    assert found.time_ids == ([128, 128, 0, 0, 128, 128] if family == "sdxl" else None)
    # Flux has its guidance built in, Z-Image-Turbo has none; the others pay twice, for a prompt only
    assert found.guided == (1 if family in ("flux", "zimage") else 2)
    assert found.blind == 1
    assert found.tokens == TOKENS.get(family, found.tokens)
    assert all(abs(begin - s) < 0.1 for begin, s in zip(found.begins, STRENGTHS, strict=True))


@pytest.mark.parametrize(
    ("family", "call", "passes"),
    [
        ("sdxl", {"guidance_scale": 1.0}, 1),
        ("zimage", {"guidance_scale": 4.0}, 2),
        ("qwen", {"true_cfg_scale": 1}, 1),
        ("flux", {"true_cfg_scale": 4.0}, 2),
    ],
)
def test_guidance_of_the_settings_goes_before_the_familys(family, call, passes):
    model = tiny(family, call=call, buckets=[[64, 64]], steps=3)
    seen = []
    network = getattr(model.pipe, "unet", None) or model.pipe.transformer
    network.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(args[0] if args else kwargs["hidden_states"])), with_kwargs=True
    )
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    model([image], [np.ones((64, 64), np.float32)], ["a"], [0])
    assert sum(seen) == 3 * passes


def test_sdxl_has_the_aspect_buckets_of_its_training():
    sizes = aspect_buckets(1024, 64, WIDE)
    upright = {(1024, 1024), (1152, 896), (1216, 832), (1344, 768), (1600, 640)}
    assert set(sizes) == upright | {(w, h) for h, w in upright}
    assert like_native((512, 512), sizes) == (1024, 1024)
    assert like_native((512, 1024), sizes) == (768, 1344)
    assert like_native((896, 1152), sizes) == (896, 1152)


@given(st.sampled_from([512, 768, 1024, 1328]), st.sampled_from([16, 64]))
def test_native_sizes_have_the_native_number_of_pixels(side, align):
    for height, width in aspect_buckets(side, align, WIDE):
        assert height % align == width % align == 0
        assert 0.8 < height * width / side**2 < 1.1


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_time_ids_say_native_even_where_crops_are_smaller(family):
    model = tiny(family, crop_area="image")
    assert (64, 64) in model.buckets
    assert native_side(model.pipe) == 128
    assert native_sizes(model.pipe)[-1] == (128, 128)
    arguments = model.calls.arguments((64, 64), [model.text("a")])
    assert arguments.get("original_size", (128, 128)) == arguments.get("target_size", (128, 128)) == (128, 128)
    assert ("original_size" in arguments) is (family == "sdxl")


def test_what_a_backend_says_of_itself():
    model = tiny("sdxl")
    assert isinstance(model, FixedSizes)
    assert isinstance(model, NoiseLevels)
    assert len(model.levels()) == STEPS + 1
    assert model.levels()[0] == 0


@settings(max_examples=100)
@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=30, unique=True).map(sorted),
    st.floats(0, 1),
)
def test_a_strength_begins_at_the_nearest_level_and_below_half_a_level_nowhere(rising, strength):
    levels = [0.0, *rising]
    (k,) = active_steps(np.array([strength]), levels)
    assert abs(levels[k] - strength) <= min(abs(level - strength) for level in levels) + 1e-12
    assert active_steps(np.array([0.499 * rising[0], 0.0]), levels).tolist() == [0, 0]
    assert active_steps(np.array([1.0]), levels)[0] == len(rising)


SCHEDULERS = {
    "EulerDiscreteScheduler": {},
    "DDIMScheduler": {"timestep_spacing": "trailing"},
    "DPMSolverMultistepScheduler": {},
    "LCMScheduler": {},
    "PNDMScheduler": {"skip_prk_steps": True},
    "FlowMatchEulerDiscreteScheduler": {"shift": 3.0},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_levels_are_the_share_of_noise_by_the_schedules_own_formula(name):
    scheduler = getattr(diffusers, name)(**SCHEDULERS[name])

    class Pipe:
        pass

    pipe = Pipe()
    pipe.scheduler = scheduler
    levels = levels_of(pipe, 10, lambda: pipe.scheduler.set_timesteps(10))
    scheduler.set_timesteps(10)
    assert len(levels) == 11
    for k in range(1, 11):
        index = 10 - k
        if name.startswith("Flow"):
            expected = float(scheduler.sigmas[index])
        else:
            t = float(scheduler.timesteps[index])
            alphas = scheduler.alphas_cumprod.double()
            low, high = int(np.floor(t)), int(np.ceil(t))
            alpha = float(alphas[low] + (t - low) * (alphas[high] - alphas[low]))
            expected = (1 - alpha) ** 0.5 / (alpha**0.5 + (1 - alpha) ** 0.5)
        assert levels[k] == pytest.approx(expected, abs=0.01)


def test_a_pixel_below_half_a_level_comes_back_exactly_and_costs_nothing():
    model = tiny("sdxl")
    calls = []
    model.pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    least = model.levels()[1]
    plane = np.full((128, 128), 0.45 * least, np.float32)
    assert model([image], [plane], ["a"], [0])[0] is image
    assert not calls
    plane[:, :64] = 1
    (result,) = model([image], [plane], ["a"], [0])
    assert np.array_equal(result[:, 64:], image[:, 64:])
    assert (result != image)[:, :64].mean() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "prompt",
    ["x" * 400_000, "", "   ", "一只在月球上的柯基犬", "(masterpiece:1.2), [dog|cat], <lora:x:1>", "\x00\n\t"],
)
def test_a_prompt_of_any_kind_gives_an_embedding(family, prompt):
    model = tiny(family, buckets=[[64, 64]])
    embedding = model.text(prompt)
    values = embedding["prompt_embeds"]
    assert torch.isfinite(values[0] if isinstance(values, list) else values).all()


def test_a_prompt_that_is_cut_is_counted_and_reported_once(caplog):
    model = tiny("sdxl")
    assert model.text.tokens("abc") == (5, 5)  # with a begin and an end
    assert model.text.tokens("a" * 100) == (77, 102)
    with caplog.at_level(logging.WARNING):
        for prompt in ("short", "a" * 75, "a" * 76, "b" * 400_000, "a" * 76):
            model.text(prompt)
    assert model.text.cut == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert "reads the first 77 tokens" in line
    assert "76 characters" in line


@pytest.mark.parametrize(("family", "most"), [("sdxl", 77), ("qwen", 1024), ("zimage", 512)])
def test_tokens_of_a_template_count_as_the_encoder_counts_them(family, most):
    text = tiny(family, buckets=[[64, 64]]).text
    frame = text.tokens("")[1]
    for letters in (1, most - frame, most - frame + 1):
        kept, count = text.tokens("a" * letters)
        embedding = text("a" * letters)
        if family != "sdxl":  # which pads all to 77
            mask, embeds = embedding.get("prompt_embeds_mask"), embedding["prompt_embeds"]
            assert kept == (len(embeds[0]) if mask is None else int(mask.sum()))
        assert count == frame + letters
        assert text.cut == (count > most)


def flux(tmp_path, guidance_embeds, **options):
    pipe = diffusers.FluxPipeline.from_pretrained(saved("flux"), local_files_only=True)
    config = {**pipe.transformer.config, "guidance_embeds": guidance_embeds}
    pipe.register_modules(transformer=diffusers.FluxTransformer2DModel.from_config(config))
    pipe.save_pretrained(tmp_path / "flux")
    return DiffusersRestorer(str(tmp_path / "flux"), buckets=[[64, 64]], steps=4, device="cpu", **options)


@pytest.mark.parametrize(
    ("distilled", "call", "tokens"),
    [(False, {}, 512), (True, {}, 256), (True, {"max_sequence_length": 64}, 64)],
)
def test_flux_schnell_reads_half_of_the_text_and_the_settings_may_say_how_much(tmp_path, distilled, call, tokens):
    model = flux(tmp_path, not distilled, call=call)
    assert model.text("a")["prompt_embeds"].shape[1] == tokens
    assert model.text.tokens("a" * 2000)[0] == tokens
    image = np.zeros((64, 64, 3), np.uint8)
    (result,) = model([image], [np.ones((64, 64), np.float32)], ["a"], [0])
    assert (result != image).any()


def test_text_settings_reach_the_encoders_of_stable_diffusion():
    image, plane = np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), np.float32)
    results = []
    for skipped in (None, 1):
        model = tiny("sdxl", buckets=[[64, 64]], steps=2, call={"clip_skip": skipped})
        stock = model.pipe.encode_prompt("a", device="cpu", clip_skip=skipped, do_classifier_free_guidance=False)[
            0
        ]
        assert torch.equal(model.text("a")["prompt_embeds"], stock)
        results += model([image], [plane], ["a"], [0])
    assert not np.array_equal(*results)


def test_what_stands_first_survives_the_cut():
    model = tiny("sdxl")
    long = "abc " * 100
    first, second = model.text("sharp, " + long), model.text("sharp, " + long + "more")
    assert torch.equal(first["prompt_embeds"], second["prompt_embeds"])
    assert not torch.equal(first["prompt_embeds"], model.text(long + "sharp")["prompt_embeds"])


def test_the_vae_works_on_one_image_at_a_time():
    model = tiny("sdxl", batch_size=3)
    decoded, denoised = [], []
    model.pipe.vae.decoder.register_forward_pre_hook(lambda _, args: decoded.append(len(args[0])))
    model.pipe.unet.register_forward_pre_hook(lambda _, args: denoised.append(len(args[0])))
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    model(list(images), [np.ones((128, 128), np.float32)] * 3, [""] * 3, [0, 1, 2])
    assert decoded == [1, 1, 1]
    assert set(denoised) == {3}
