"""Restoration checkpoints: the tiling with a stand-in network, and spandrel itself where it is installed."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from qrefine.config import Backend, parse_config
from qrefine.errors import NotFiniteError, UserError
from qrefine.models.registry import load_restorer
from qrefine.quality.map import QualityMap
from qrefine.sample import Sample
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.refiner import Refiner
from qrefine.stages.stage import run_stages
from tests.models.restorers.spandrel_here import needs_spandrel


class Descriptor:
    """What spandrel says of a network that halves brightness and doubles the size."""

    input_channels = output_channels = 3
    supports_bfloat16 = True

    def __init__(self):
        self.sizes, self.tried = [], []
        self.memory, self.bias = 10**9, 0.0

    def eval(self):
        return self

    def to(self, **options):
        return self

    def __call__(self, x):
        self.tried.append(max(x.shape[-2:]))
        if x.shape[-1] > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(tuple(x.shape))
        return nn.functional.interpolate(x / 2 + self.bias, scale_factor=2)


class MaskedDescriptor(Descriptor):
    input_channels = 4
    architecture = types.SimpleNamespace(name="LaMa")


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    """A file and a ``spandrel`` that makes a network of it, as far as it is used here."""

    class Loader:
        def __init__(self, device):
            pass

        def load_from_state_dict(self, state):
            if "known" not in state:
                raise RuntimeError("unsupported model")
            return MaskedDescriptor() if "mask" in state else Descriptor()

    module = types.ModuleType("spandrel")
    module.ModelLoader, module.ImageModelDescriptor = Loader, Descriptor
    monkeypatch.setitem(sys.modules, "spandrel", module)
    torch.save({"known": torch.zeros(1)}, tmp_path / "net.pth")
    torch.save({"known": torch.zeros(1), "mask": torch.zeros(1)}, tmp_path / "mask.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    return tmp_path / "net.pth"


def load(path, **options):
    return load_restorer(
        Backend(name="spandrel", weights=None if path is None else str(path), options={"device": "cpu", **options})
    )


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(40, 50), (64, 64), (200, 90), (131, 257)])
def test_tiles_join_without_a_seam(checkpoint, size):
    model = load(checkpoint, tile=64, overlap=16)
    image = picture(*size)
    (result,) = model([image], [np.ones(size, np.float32)], [""], [0])
    assert np.abs(result - image / 2).max() <= 0.5
    assert all(max(shape[-2:]) <= 64 for shape in model.model.sizes)


def test_strength_mixes_and_zero_is_exact(checkpoint):
    image = picture(80, 80)
    plane = np.zeros((80, 80), np.float32)
    plane[:40], plane[40:60] = 1, 0.5
    (result,) = load(checkpoint, tile=64, overlap=16)([image], [plane], [""], [0])
    assert np.array_equal(result[60:], image[60:])
    assert np.abs(result[40:60] - 0.75 * image[40:60]).max() <= 0.5
    (still,) = load(checkpoint)([image], [np.zeros((80, 80), np.float32)], [""], [0])
    assert still is image


def test_a_checkpoint_that_inpaints_and_enhances_runs_once(checkpoint):
    backend = {"name": "spandrel", "weights": str(checkpoint), "options": {"device": "cpu"}}
    config = parse_config({"inpaint": backend, "enhance": {"blind": backend}, "accept": {"risk": None}})
    refiner = Refiner(config)
    restorer = next(stage for stage in refiner.stages if isinstance(stage, Inpaint)).restorer
    image = picture(64, 64)
    (result,) = run_stages(refiner.stages[:-2], [Sample(decoded=image, before=QualityMap(np.full((4, 4), 0.1)))])
    assert result.stages == ("inpaint", "enhance_blind")
    assert len(restorer.model.tried) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_an_error_and_no_pixels(checkpoint, value):
    model = load(checkpoint)
    model.model.bias = value
    with pytest.raises(NotFiniteError):
        model([picture(20, 20)], [np.ones((20, 20), np.float32)], [""], [0])


def test_out_of_memory_halves_the_tile_and_remembers(checkpoint):
    model = load(checkpoint, tile=256, overlap=16)
    model.model.memory = 64
    image = picture(100, 100)
    (result,) = model([image], [np.ones((100, 100), np.float32)], [""], [0])
    assert np.abs(result - image / 2).max() <= 0.5
    assert [side for side in model.model.tried if side > 64] == [100, 100]
    model.model.tried.clear()
    model([image], [np.ones((100, 100), np.float32)], [""], [0])
    assert max(model.model.tried) == 64
    model.model.memory = 10
    with pytest.raises(torch.OutOfMemoryError):
        model([image], [np.ones((100, 100), np.float32)], [""], [0])


def test_what_cannot_be_loaded_is_one_line(checkpoint, tmp_path):
    for path, options, expected in [
        (None, {}, "weights are needed"),
        (
            tmp_path / "absent.pth",
            {},
            f"no restoration checkpoint that spandrel knows at {tmp_path / 'absent.pth'}",
        ),
        (tmp_path / "other.pth", {}, "holds no restoration checkpoint that spandrel knows: unsupported model"),
        (tmp_path / "mask.pth", {}, "is a LaMa model, which does not take RGB to RGB"),
        (checkpoint, {"tile": 100, "overlap": 32}, "overlap is a quarter of a tile at most, not 32 of 100"),
        (checkpoint, {"tile": 32}, "tile: Input should be greater than or equal to 64, got 32"),
    ]:
        with pytest.raises(UserError) as caught:
            load(path, **options)
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_spandrel_the_extra_is_named(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UserError, match=r"qrefine\[spandrel\]"):
        load(checkpoint)


class Compact(nn.Module):
    """Real-ESRGAN's compact network under the names of its public checkpoints (body.0, body.1, ...)."""

    def __init__(self, width=8, depth=2, scale=2):
        super().__init__()
        layers = [nn.Conv2d(3, width, 3, 1, 1), nn.PReLU(width)]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.PReLU(width)]
        self.body = nn.ModuleList([*layers, nn.Conv2d(width, 3 * scale**2, 3, 1, 1)])
        self.scale = scale

    def forward(self, x):
        y = x
        for layer in self.body:
            y = layer(y)
        y = nn.functional.pixel_shuffle(y, self.scale)
        return y + nn.functional.interpolate(x, scale_factor=self.scale, mode="nearest")


def test_a_real_checkpoint_layout_gives_what_its_network_gives(tmp_path):
    needs_spandrel()
    torch.manual_seed(0)
    network = Compact()
    torch.save({"params": network.state_dict()}, tmp_path / "realesr-tiny.pth")
    image = picture(64, 64)
    (result,) = load(tmp_path / "realesr-tiny.pth", tile=64, overlap=16)(
        [image], [np.ones((64, 64), np.float32)], [""], [0]
    )
    with torch.no_grad():
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        y = nn.functional.avg_pool2d(network(x).clamp(0, 1), 2)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(result - y).max() <= 0.51
