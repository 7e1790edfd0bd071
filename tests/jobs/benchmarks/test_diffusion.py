"""The GPU benchmark in miniature: every figure is there, and the corpus is the one that it says."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")

from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

from benchmarks.diffusion import main, make_corpus, seconds, speeds, stock
from qrefine.models.diffusion.img2img import DiffusersRestorer
from qrefine.models.diffusion.random_models import random_pipeline
from qrefine.stages.crops import restore_defects


@pytest.mark.parametrize("model", ["sdxl", "sd15"])
def test_it_measures_all_three_in_miniature(model, tmp_path, capsys):
    torch.set_num_threads(1)
    out = tmp_path / "bench.json"
    arguments = ["--tiny", "--model", model, "--images", "5", "--batch", "2", "--steps", "2", "--out", str(out)]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["tiny"] is True
    assert (result["images"], result["broken"]) == (5, 1)
    assert sum(result["crop_sizes"].values()) == 1
    assert set(result["images_per_second"]) == {"a", "b", "c"}
    assert all(rate > 0 for rate in result["images_per_second"].values())
    assert result["unet_tflops"] > 0
    assert result["peak_share"] > 0
    assert "tiny: no figures" in capsys.readouterr().out


def test_ratios_say_how_many_times_as_fast_ours_is():
    found = speeds(40, {"a": 80.0, "b": 20.0, "c": 10.0})
    assert found == {"images_per_second": {"a": 0.5, "b": 2.0, "c": 4.0}, "c_over_a": 8.0, "c_over_b": 2.0}


def test_stock_inpaints_every_image_in_batches_and_qrefine_only_what_is_broken():
    corpus = make_corpus(5, 128)
    base = random_pipeline("sd15", torch.device("cpu"), torch.float32, tiny=True)
    seen = []
    base.unet.register_forward_hook(lambda module, arguments, output: seen.append(len(output[0])))
    inpainting = AutoPipelineForInpainting.from_pipe(base)
    inpainting.set_progress_bar_config(disable=True)
    stock(inpainting, corpus, steps=2, batch=2)
    assert seen == [4, 4, 2]  # with and without the prompt; one of two steps at this strength
    seen.clear()
    restorer = DiffusersRestorer(
        AutoPipelineForImage2Image.from_pipe(base), steps=2, scheduler="EulerDiscreteScheduler", device="cpu"
    )
    restore_defects(restorer, corpus.images, corpus.strengths, corpus.prompts, list(range(5)))
    assert seen == [2, 2]  # the one that is broken, in a batch filled to two, at each of two steps


def test_the_corpus_is_the_one_that_is_claimed():
    corpus = make_corpus(20, 256)
    broken = [plane for plane in corpus.strengths if plane.any()]
    assert len(broken) == 12
    for plane in broken:
        assert (plane > 0).mean() == pytest.approx(0.15, abs=0.01)
        assert set(plane[plane > 0]) == {0.5}


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--model", "sdxl"]) == 2
    assert capsys.readouterr().out == "error: there is no GPU here; --tiny runs in miniature\n"


@pytest.mark.parametrize(("model", "parameters"), [("sdxl", 2.567e9), ("sd15", 0.8595e9)])
def test_models_have_their_real_size(model, parameters):
    pipe = random_pipeline(model, torch.device("meta"), torch.bfloat16)
    assert sum(p.numel() for p in pipe.unet.parameters()) == pytest.approx(parameters, rel=1e-3)


def test_seconds_are_seconds():
    import time

    assert seconds(lambda: time.sleep(0.05), torch.device("cpu")) >= 0.05
