"""A steeper mapper: surer, with the same alarms and the same order of patches."""

from pathlib import Path

import pytest
import torch

from qrefine.models.mappers.embedded_net import ARCHITECTURE, MapperNet
from qrefine.models.weights import load_weights
from training import tensors
from training.steepen import THRESHOLD, steepen


@pytest.fixture
def shallow(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "shallow.safetensors"
    net = MapperNet()
    net.head.last.weight.data[0] *= 20
    net.head.last.bias.data[0] = THRESHOLD - 0.5  # so that answers of untrained weights lie on both sides
    tensors.save(path, net.state_dict(), {"architecture": ARCHITECTURE, "steps": "9"})
    return path


def answers(path: Path) -> torch.Tensor:
    net = MapperNet().eval()
    load_weights(net, path, ARCHITECTURE)
    pixels = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return net(pixels, 4)


def test_logits_of_all_damage_move_away_from_the_threshold_alone(shallow: Path, tmp_path: Path) -> None:
    steepen(shallow, 2, tmp_path / "steep")
    before, after = answers(shallow), answers(tmp_path / "steep")
    torch.testing.assert_close(after[..., 0] - THRESHOLD, 2 * (before[..., 0] - THRESHOLD))
    torch.testing.assert_close(after[..., 1:], before[..., 1:])
    alarms = [torch.sigmoid(of[..., 0]) > 0.3 for of in (before, after)]
    assert (alarms[0] == alarms[1]).all()
    assert 0 < alarms[0].float().mean() < 1  # or the line before could not fail
    assert tensors.load(tmp_path / "steep")[1] == tensors.load(shallow)[1]


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_other_factors_are_refused(shallow: Path, tmp_path: Path, factor: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        steepen(shallow, factor, tmp_path / "steep")
    assert not (tmp_path / "steep").exists()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    tensors.save(tmp_path / "other", {"a": torch.zeros(1)}, {"architecture": "line-1"})
    with pytest.raises(ValueError, match=ARCHITECTURE):
        steepen(tmp_path / "other", 2, tmp_path / "steep")
