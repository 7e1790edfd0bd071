"""Banks, regions and pairs."""

import numpy as np
import pytest
import torch

from training.data import Bank, toned
from training.pairs import CELL, Pairs, Recipe, finished, make_pairs
from training.regions import soft_regions
from training.scenes import scenes
from training.strengths import estimated_quality, simulated_strength

RECIPE = Recipe({"noise": 1, "jpeg": 1}, clean=0.25, whole=0.3)


@pytest.fixture(scope="module")
def bank() -> Bank:
    made = scenes(1, 120, torch.Generator().manual_seed(0)).permute(0, 2, 3, 1).numpy()
    return Bank(torch.device("cpu"), {"photos": [*made, made[0][:70, :50]]}, looks=2, look_size=64)


def test_crops_are_windows_of_the_images() -> None:
    place = np.arange(100 * 60)
    image = np.stack([place // 256, place % 256, np.full(6000, 9)], -1).reshape(100, 60, 3).astype(np.uint8)
    bank = Bank(torch.device("cpu"), {"photos": [image]})
    rows, columns = place.reshape(100, 60) // 60, place.reshape(100, 60) % 60
    for crop in (bank._windows(6, 40, np.random.default_rng(1), {"photos": 1}) * 255).round().long():
        number = crop[0] * 256 + crop[1]
        y, x = torch.from_numpy(rows)[number // 60, 0], number % 60
        assert int(crop[2].min()) == int(crop[2].max()) == 9
        for axis in (y, x):  # neighbours stay neighbours, turned or mirrored
            assert int(axis.diff(dim=0).abs()[0, 0] + axis.diff(dim=1).abs()[0, 0]) == 1
        assert number.unique().numel() == 1600
    assert columns.max() == 59


def test_small_images_are_mirrored_and_empty_banks_refused(bank: Bank) -> None:
    assert bank.crops(8, 100, np.random.default_rng(0)).shape == (8, 3, 100, 100)
    with pytest.raises(ValueError, match="empty"):
        Bank(torch.device("cpu"), {}).crops(1, 8, np.random.default_rng(0))


def test_looks_come_later_and_replace_the_oldest(bank: Bank) -> None:
    assert bank.count("looks") == 0
    bank.add_looks(torch.stack([torch.full((3, 64, 64), value, dtype=torch.uint8) for value in (10, 20, 30)]))
    assert bank.count("looks") == 2
    found = bank.crops(40, 32, np.random.default_rng(0), {"looks": 1}) * 255
    assert set(found.round().int().unique().tolist()) == {20, 30}


def test_regions_are_soft_masks_of_many_sizes() -> None:
    masks = soft_regions(64, 96, 80, torch.Generator().manual_seed(0))
    assert masks.shape == (64, 1, 96, 80)
    shares = masks.mean((1, 2, 3))
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    assert shares.min() < 0.1 < 0.5 < shares.max()


def test_severity_is_zero_where_nothing_changed(bank: Bank) -> None:
    pairs = make_pairs(bank, RECIPE, 12, 64, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert pairs.clean.shape == pairs.damaged.shape == (12, 3, 64, 64)
    assert pairs.families.shape == (12, 7, 64 // CELL, 64 // CELL)
    assert pairs.untouched == 3
    assert torch.equal(pairs.clean[:3], pairs.damaged[:3])
    assert float(pairs.severity[:3].max()) == 0
    assert float(pairs.families[:3].max()) == 0
    changed = (pairs.clean != pairs.damaged).any(1, keepdim=True)
    assert float(pairs.severity[changed].mean()) > float(pairs.severity[~changed].mean())
    of_kinds = pairs.families.amax((0, 2, 3)) > 0
    assert of_kinds.tolist() == [False, True, True, False, False, False, False]  # noise, compression


def test_pairs_are_a_function_of_their_seeds(bank: Bank) -> None:
    def made() -> Pairs:
        return make_pairs(bank, RECIPE, 6, 64, np.random.default_rng(3), torch.Generator().manual_seed(3))

    first, second = made(), made()
    assert torch.equal(first.damaged, second.damaged)
    assert torch.equal(first.severity, second.severity)


def test_unknown_weights_are_named() -> None:
    with pytest.raises(ValueError, match="rust"):
        Recipe({"rust": 1}).chances()


def test_tone_and_finish_change_little_of_structure(bank: Bank) -> None:
    images = bank.crops(16, 64, np.random.default_rng(0), {"photos": 1})
    assert (toned(images, torch.Generator().manual_seed(0), 1.0) != images).any()
    assert torch.equal(toned(images, torch.Generator().manual_seed(0), 0.0), images)
    for seed in range(8):
        assert (finished(images, torch.Generator().manual_seed(seed)) - images).abs().mean() * 255 < 5


def test_strengths_are_never_zero_everywhere() -> None:
    severity = torch.zeros(32, 1, 64, 64)
    severity[16:, :, :32] = 0.9
    generator = torch.Generator().manual_seed(0)
    quality = estimated_quality(severity, generator)
    assert quality[16:, :, :24].mean() < 0.35 < 0.65 < quality[:16].mean()
    strength = simulated_strength(quality, generator)
    assert (strength.amax((1, 2, 3)) > 0.04).all()
    assert 0 <= float(strength.min()) <= float(strength.max()) <= 1
