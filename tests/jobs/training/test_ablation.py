from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from training.ablation import ablate, table
from training.loop import Schedule
from training.perceptual import load
from training.restorer import RestorerSettings, RestorerTask
from training.sources import Supply
from training.structures import STRUCTURES


@pytest.mark.parametrize("name", list(STRUCTURES))
def test_a_structure_learns_and_is_measured(name: str, pack: Path, tmp_path: Path) -> None:
    supply = Supply(pack, looks=0, processes=0, scenes=4)
    settings = RestorerSettings(batch_size=4, sizes=(64,), perceptual=0)

    def task(structure: str) -> RestorerTask:
        return RestorerTask(supply, replace(settings, structure=structure))

    ablate((name,), tmp_path, task, lambda: Schedule(steps=3))
    heads, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table((name,), tmp_path, pack, 1, load(None)).splitlines()
    )
    told = dict(zip(heads, row, strict=True))
    assert (told["structure"], told["steps"]) == (name, "3")
    assert float(told["Mpx/s"]) > 0
    assert abs(float(told["dB"])) < 1  # three steps change next to nothing
    assert set(heads) >= {"blur", "noise", "compression", "resampling", "perceptual"}
