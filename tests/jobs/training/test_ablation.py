from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qrefine.models.restorers import embedded_net as shipped
from training.ablation import STRUCTURES, StructureTask, ablate, answer, table
from training.damage import FAMILIES
from training.loop import Schedule
from training.perceptual import load
from training.restorer import RestorerSettings
from training.sources import Supply


def test_there_are_as_many_families_as_kinds_of_the_shipped_network() -> None:
    assert len(FAMILIES) == len(shipped.KINDS)


def test_only_told_networks_depend_on_the_family_and_samples_do_not_meet() -> None:
    pixels, strength = torch.rand(3, 3, 32, 32), torch.ones(3, 1, 32, 32)
    for name, (build, _) in STRUCTURES.items():
        torch.manual_seed(0)
        net = build().eval().requires_grad_(False)
        for parameter in net.parameters():
            parameter += torch.randn(parameter.shape) * 0.02
        found = answer(net, pixels, strength, torch.tensor([0, 2, 0]))
        alone = torch.cat(
            [
                answer(net, p[None], s[None], torch.tensor([f]))
                for p, s, f in zip(pixels, strength, (0, 2, 0), strict=True)
            ]
        )
        assert torch.allclose(found, alone, atol=1e-5), name
        other = answer(net, pixels, strength, torch.tensor([1, 2, 0]))
        assert torch.allclose(found[1:], other[1:], atol=1e-5), name
        assert torch.allclose(found[0], other[0], atol=1e-5) == (name != "kinds")


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_a_structure_learns_and_is_measured(name: str, pack: Path, tmp_path: Path) -> None:
    supply = Supply(pack, looks=0, processes=0, scenes=4)
    settings = RestorerSettings(batch_size=4, sizes=(64,), perceptual=0)
    ablate((name,), tmp_path, lambda name: StructureTask(name, supply, settings), lambda: Schedule(steps=3))
    heads, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table((name,), tmp_path, pack, 1, load(None)).splitlines()
    )
    told = dict(zip(heads, row, strict=True))
    assert (told["structure"], told["steps"]) == (name, "3")
    assert float(told["Mpx/s"]) > 0
    assert abs(float(told["dB"])) < 1  # three steps change next to nothing
    assert set(heads) >= {"blur", "noise", "compression", "resampling", "perceptual"}
