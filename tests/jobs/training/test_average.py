"""Averaged weights: in their share, of one network alone."""

from pathlib import Path

import pytest
import torch

from training import tensors
from training.average import average


def written(path: Path, weight: list[float], architecture: str = "line-1") -> Path:
    tensors.save(
        path, {"a": torch.tensor(weight), "count": torch.tensor(3)}, {"architecture": architecture, "steps": "9"}
    )
    return path


def test_weights_lie_between_in_their_share(tmp_path: Path) -> None:
    first, second = written(tmp_path / "one", [0.0, 4.0]), written(tmp_path / "two", [1.0, 2.0])
    average(first, second, 0.25, tmp_path / "out")
    found, notes = tensors.load(tmp_path / "out")
    assert found["a"].tolist() == [0.25, 3.5]
    assert found["a"].dtype == torch.float16
    assert found["count"] == 3
    assert notes == {"architecture": "line-1", "steps": "18"}


def test_other_networks_and_shares_are_refused(tmp_path: Path) -> None:
    first = written(tmp_path / "one", [0.0, 4.0])
    for other in (written(tmp_path / "two", [1.0, 2.0], "line-2"), written(tmp_path / "three", [1.0])):
        with pytest.raises(ValueError, match="different networks"):
            average(first, other, 0.5, tmp_path / "out")
    with pytest.raises(ValueError, match="share"):
        average(first, first, 1.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
