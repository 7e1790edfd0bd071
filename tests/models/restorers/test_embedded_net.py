"""The restorer's network: what is not asked for is exact, any size, answers depend on surroundings alone."""

import pytest
import torch

from qrefine.models.restorers.embedded_net import STRIDE, RestorerNet, padded


@pytest.fixture(scope="module")
def net() -> RestorerNet:
    torch.manual_seed(0)
    net = RestorerNet()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return net.eval().requires_grad_(False)


def test_untrained_it_changes_nothing() -> None:
    pixels = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(RestorerNet()(pixels, torch.ones(1, 1, 32, 48)), pixels)


def test_pixels_of_strength_0_are_exact(net: RestorerNet) -> None:
    pixels, strength = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    strength[:, :, 20:40, 8:30] = 0.6
    found = net(pixels, strength)
    untouched = (strength == 0).expand_as(pixels)
    assert torch.equal(found[untouched], pixels[untouched])
    assert (found != pixels)[~untouched].float().mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (16, 16), (17, 33), (40, 9)])
def test_any_size_through_padding(net: RestorerNet, size: tuple[int, int]) -> None:
    pixels, strength = torch.rand(1, 3, *size), torch.ones(1, 1, *size)
    wide = padded(pixels)
    assert wide.shape[-2] % STRIDE == wide.shape[-1] % STRIDE == 0
    assert torch.equal(wide[..., : size[0], : size[1]], pixels)
    assert net(wide, padded(strength)).isfinite().all()


def test_what_is_far_away_does_not_matter(net: RestorerNet) -> None:
    pixels, strength = torch.rand(1, 3, 32, 640), torch.ones(1, 1, 32, 640)
    other = pixels.clone()
    other[..., 560:] = torch.rand(1, 3, 32, 80)
    assert torch.allclose(net(pixels, strength)[..., :64], net(other, strength)[..., :64], atol=1e-5)


def test_samples_do_not_meet(net: RestorerNet) -> None:
    pixels, strength = torch.rand(3, 3, 32, 32), torch.rand(3, 1, 32, 32)
    together = net(pixels, strength)
    alone = torch.cat([net(p[None], s[None]) for p, s in zip(pixels, strength, strict=True)])
    assert torch.allclose(together, alone, atol=1e-5)
