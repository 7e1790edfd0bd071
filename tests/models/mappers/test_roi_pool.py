"""PaQ-2-PiQ's network against a slow reference: each patch by itself, loops where the model has tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from qrefine.config import MapperSettings
from qrefine.errors import UserError
from qrefine.models.mappers.roi_pool import RoiPoolMapper, RoIPoolModel
from qrefine.models.registry import load_mapper


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random network in the layout of the public file, its head spread over the scale."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = RoIPoolModel()
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    model.head[8].weight.data *= 100
    model.head[8].bias.data.fill_(50)
    path = tmp_path_factory.mktemp("roi") / "RoIPoolModel.pth"
    torch.save({"model": model.state_dict(), "opt": {"lr": 0.1}}, path)
    return path


def images(*sizes):
    """Noise that grows from left to right, so that patches differ."""
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 100, (*size, 3)) * np.linspace(0, 1, size[1])[None, :, None] for size in sizes]
    return [np.clip(128 + one, 0, 255).astype(np.uint8) for one in noise]


def half_away(x):
    return math.floor(x + 0.5)


def slow_map(path, image, n):
    """Plain functional ResNet-18 on the image alone, then RoIPool by its definition, patch by patch."""
    state = torch.load(path, weights_only=True)["model"]

    def norm(x, name):
        return F.batch_norm(
            x,
            state[f"{name}.running_mean"],
            state[f"{name}.running_var"],
            state[f"{name}.weight"],
            state[f"{name}.bias"],
        )

    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    x = F.relu(norm(F.conv2d(x, state["body.0.weight"], stride=2, padding=3), "body.1"))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(4, 8):
        for block in range(2):
            name, stride = f"body.{stage}.{block}", 2 if stage > 4 and block == 0 else 1
            shortcut = x
            if f"{name}.downsample.0.weight" in state:
                shortcut = norm(
                    F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1"
                )
            y = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            x = F.relu(y + shortcut)
    features = x[0]
    height, width = features.shape[1:]
    scores = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            top, bottom = (half_away(image.shape[0] * k / n / 32) for k in (i, i + 1))
            left, right = (half_away(image.shape[1] * k / n / 32) for k in (j, j + 1))
            tall, wide = max(bottom - top + 1, 1) / 2, max(right - left + 1, 1) / 2
            bins = []
            for a in range(2):
                for b in range(2):
                    y0, y1 = (
                        min(max(v + top, 0), height) for v in (math.floor(a * tall), math.ceil((a + 1) * tall))
                    )
                    x0, x1 = (
                        min(max(v + left, 0), width) for v in (math.floor(b * wide), math.ceil((b + 1) * wide))
                    )
                    y0, x0 = min(y0, height - 1), min(x0, width - 1)
                    bins.append(features[:, y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].amax((1, 2)))
            bins = torch.stack(bins)
            pooled = torch.cat([bins.amax(0), bins.mean(0)])[None]
            hidden = F.relu(F.linear(norm(pooled, "head.2"), state["head.4.weight"], state["head.4.bias"]))
            scores[i, j] = F.linear(norm(hidden, "head.6"), state["head.8.weight"], state["head.8.bias"]).item()
    return np.clip(scores / 100, 0, 1)


@pytest.mark.parametrize("size", [(96, 128), (250, 130), (33, 65), (256, 256)])
@pytest.mark.parametrize("n", [1, 5, 16])
def test_the_map_is_that_of_every_patch_by_itself(checkpoint, size, n):
    (image,) = images(size)
    mapper = RoiPoolMapper(str(checkpoint), grid=n, device="cpu")
    expected = slow_map(checkpoint, image, n)
    found = mapper([image])[0].values
    assert np.abs(found - expected).max() < 2e-5
    assert n == 1 or expected.std() > 2e-3


def test_mixed_sizes_take_one_backbone_pass_and_agree_with_single_ones(checkpoint):
    mapper = RoiPoolMapper(str(checkpoint), grid=8, batch_size=4, device="cpu")
    batch = images((96, 128), (250, 130), (33, 65), (256, 256))
    passes = []
    mapper.model.body[0].register_forward_hook(lambda *_: passes.append(1))
    together = mapper(batch)
    assert len(passes) == 1
    for image, found in zip(batch, together, strict=True):
        assert np.array_equal(mapper([image])[0].values, found.values)
        assert np.abs(slow_map(checkpoint, image, 8) - found.values).max() < 2e-5


def test_images_of_one_canvas_may_have_maps_of_several_n(checkpoint):
    mapper = RoiPoolMapper(str(checkpoint), grid=2, patch=64, batch_size=4, device="cpu")
    batch = images((96, 128), (250, 130), (100, 100))
    together = mapper(batch)
    assert [found.n for found in together] == [2, 6, 2]
    for image, found in zip(batch, together, strict=True):
        assert np.abs(slow_map(checkpoint, image, found.n) - found.values).max() < 2e-5


def test_in_bfloat16_the_map_is_nearly_the_same(checkpoint):
    batch = images((96, 128), (256, 256))
    exact, rounded = (
        RoiPoolMapper(str(checkpoint), grid=8, device="cpu", bfloat16=half) for half in (False, True)
    )
    for one, other in zip(exact(batch), rounded(batch), strict=True):
        assert 0 < np.abs(one.values - other.values).max() < 0.01
        assert one.values.std() > 2e-3


def test_a_batch_of_more_images_or_canvases_keeps_its_order(checkpoint):
    mapper = RoiPoolMapper(str(checkpoint), grid=2, batch_size=2, device="cpu")
    batch = images((40, 40), (300, 40), (50, 60), (60, 60), (310, 30))
    for image, found in zip(batch, mapper(batch), strict=True):
        assert mapper([image])[0] == found


def test_safetensors_and_a_bare_state_dict_load_too(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)["model"]
    save_file(state, tmp_path / "roi.safetensors")
    torch.save(state, tmp_path / "roi.pt")
    (image,) = images((64, 64))
    expected = RoiPoolMapper(str(checkpoint), device="cpu")([image])[0]
    for name in ("roi.safetensors", "roi.pt"):
        settings = MapperSettings(name="roi_pool", weights=str(tmp_path / name), options={"device": "cpu"})
        assert load_mapper(settings)([image])[0] == expected


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


def test_missing_wrong_and_dangerous_files_are_one_line(tmp_path, capsys):
    torch.save({"model": {"body.0.weight": torch.zeros(1)}}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "damaged.safetensors").write_bytes(b"\0" * 20)
    for name, expected in [
        ("absent.pth", f"no RoIPoolModel state dict of PaQ-2-PiQ at {tmp_path / 'absent.pth'}"),
        ("other.pth", "holds no RoIPoolModel"),
        ("list.pth", "no dictionary of tensors"),
        ("evil.pth", "holds no RoIPoolModel"),
        ("damaged.safetensors", "holds no RoIPoolModel"),
    ]:
        with pytest.raises(UserError) as caught:
            load_mapper(MapperSettings(name="roi_pool", weights=str(tmp_path / name)))
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out
    with pytest.raises(UserError, match="weights are needed"):
        load_mapper(MapperSettings(name="roi_pool"))


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(checkpoint):
    batch = images((96, 128), (250, 130))
    found = RoiPoolMapper(str(checkpoint), grid=8, device="cuda")(batch)
    for image, one in zip(batch, found, strict=True):
        assert np.abs(slow_map(checkpoint, image, 8) - one.values).max() < 2e-2  # TF32
