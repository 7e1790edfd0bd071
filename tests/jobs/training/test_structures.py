from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from qrefine.models.restorers import embedded_net as shipped
from training.damage import FAMILIES
from training.structures import STRUCTURES, Structure, mixed


def test_each_family_has_a_kind_of_the_shipped_network_to_itself() -> None:
    assert len(FAMILIES) <= len(shipped.KINDS)


def moved(structure: Structure) -> nn.Module:
    """A network whose every weight matters."""
    torch.manual_seed(0)
    net = structure.build().eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter += torch.randn(parameter.shape) * 0.02
    return net


def answers(structure: Structure, net: nn.Module, pixels: Tensor, strength: Tensor, family: Tensor) -> Tensor:
    return structure.answer(net, pixels, strength, *((family,) if structure.told else ()))


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_samples_do_not_meet_and_only_who_is_told_depends_on_the_family(structure: Structure) -> None:
    net, pixels, strength = moved(structure), torch.rand(3, 3, 32, 32), torch.ones(3, 1, 32, 32)
    families = torch.tensor([0, 2, 0])
    found = answers(structure, net, pixels, strength, families)
    for i in range(3):
        one = slice(i, i + 1)
        alone = answers(structure, net, pixels[one], strength[one], families[one])
        assert torch.allclose(found[one], alone, atol=1e-5)
    other = answers(structure, net, pixels, strength, torch.tensor([1, 2, 0]))
    assert torch.allclose(found[1:], other[1:], atol=1e-5)
    assert torch.allclose(found[0], other[0], atol=1e-5) != structure.told


def test_images_of_other_shares_in_one_batch_are_what_the_shipped_network_makes_of_each() -> None:
    net = moved(STRUCTURES["kinds"])
    assert isinstance(net, shipped.RestorerNet)
    pixels, strength = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48)
    shares = torch.rand(2, len(shipped.KINDS) + 1).softmax(1)
    each = [net(p[None], s[None], of) for p, s, of in zip(pixels, strength, shares, strict=True)]
    assert torch.allclose(mixed(net, pixels, strength, shares), torch.cat(each), atol=1e-5)


def test_weights_and_classifier_of_what_ships_learn_together() -> None:
    structure = STRUCTURES["kinds"]
    net = moved(structure).requires_grad_(True)
    pixels = torch.rand(2, 3, 32, 32)
    structure.answer(net, pixels, torch.ones(2, 1, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in net.parameters())
