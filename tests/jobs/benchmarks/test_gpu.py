"""The GPU script in miniature: its parts on the CPU; what it cannot measure there, it says."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")

from benchmarks import gpu


def section(tmp_path):
    return gpu.Section(tmp_path / "part", torch.device("cpu"), True, 5)


def test_defects_are_of_mixed_sizes():
    corpus = gpu.mixed_corpus(20, 256)
    shares = sorted({round(float((plane > 0).mean()), 2) for plane in corpus.strengths})
    assert shares[0] == 0
    assert len(shares) >= 4
    assert sum(plane.any() for plane in corpus.strengths) == 12


def test_each_figure_is_kept_as_soon_as_it_is_there(tmp_path):
    one = section(tmp_path)
    one.write("first", 1)
    one.timed("mapper", lambda: None, 4)
    found = json.loads(one.path.read_text())
    assert found["first"] == 1
    assert found["mapper"]["images_per_second"] > 0
    assert found["mapper"]["peak_gib"] is None


def test_a_models_figures(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    one = section(tmp_path)
    monkeypatch.setattr(gpu, "VARIANTS", {"qrefine": {}})
    gpu.run_section("zimage", one)
    assert set(one.found) == {"stock", "stock_batched", "qrefine"}
    assert one.found["qrefine"]["crop_sizes"] == {"128x128": 1}
    assert one.found["qrefine"]["start_seconds"] > 0


def test_a_section_that_takes_too_long_is_left_out_and_the_rest_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "SECTIONS", {"tests": 1.0})
    options = argparse.Namespace(minutes=0.001, images=5, tiny=True)
    result = gpu.all_sections(tmp_path / "gpu.json", options, {"device": "cpu", "tiny": True})
    assert result["left_out"]["tests"]["figures"] == ["tests"]
    assert json.loads((tmp_path / "gpu.json").read_text()) == result
    assert "left out" in gpu.report(result)


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().out == "error: there is no GPU here; --tiny runs in miniature\n"
