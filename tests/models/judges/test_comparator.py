"""The embedded comparator: what it answers for, whatever its weights say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.judges.comparator import CONTEXT, EmbeddedComparator, changed_cells, windows
from qrefine.models.judges.comparator_net import ARCHITECTURE, CELL, ComparatorNet
from qrefine.models.weights import save_weights
from qrefine.quality.map import Image
from tests.support import noisy, photo


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with a calibration."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    notes = {"calibration": json.dumps({"curve": [[0.01, 0.9], [0.1, 0.6]]})}
    save_weights(ComparatorNet(), path, ARCHITECTURE, notes, torch.float16)
    return path


@pytest.fixture(scope="module")
def comparator(weights: Path) -> EmbeddedComparator:
    return EmbeddedComparator(str(weights), device="cpu")


def pair(size: tuple[int, int], seed: int) -> tuple[Image, Image]:
    before = photo(size=400)[: size[0], : size[1]]
    after = noisy(photo("coffee", 400)[: size[0], : size[1]], seed)
    mask = np.zeros(size, bool)
    rng = np.random.default_rng(seed)
    for _ in range(2):
        y, x = (int(rng.integers(0, s)) for s in size)
        mask[y : y + 20, x : x + 30] = True
    return before, np.where(mask[..., None], after, before)


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (64, 64), (200, 333), (33, 400)])
def test_a_value_for_every_cell_and_one_where_nothing_changed(
    comparator: EmbeddedComparator, size: tuple[int, int]
) -> None:
    before, after = pair(size, 3)
    (found,) = comparator([before], [after])
    assert found.shape == (-(-size[0] // CELL), -(-size[1] // CELL))
    assert found.dtype == np.float32
    for i, j in np.ndindex(found.shape):
        part = np.s_[CELL * i : CELL * i + CELL, CELL * j : CELL * j + CELL]
        assert (found[i, j] == 1) == np.array_equal(before[part], after[part])
    assert ((found > 0) & (found <= 1)).all()
    assert (comparator([before], [before])[0] == 1).all()


def test_the_answer_is_the_same_in_any_batch_and_blind_to_changes_far_away(comparator: EmbeddedComparator) -> None:
    pairs = [pair((200, 333), 1), pair((64, 64), 2), pair((200, 333), 5)]
    together = comparator([a for a, _ in pairs], [b for _, b in pairs])
    for (before, after), found in zip(pairs, together, strict=True):
        assert np.array_equal(comparator([before], [after])[0], found)
    before = photo(size=400)
    near, both = before.copy(), before.copy()
    near[:30, :30] = both[:30, :30] = 90
    both[370:, 370:] = 200
    assert np.array_equal(comparator([before], [near])[0][:8, :8], comparator([before], [both])[0][:8, :8])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)), st.integers(0, 10**6), st.sampled_from([0.002, 0.05, 0.7])
)
def test_every_changed_cell_has_one_window_with_context(size: tuple[int, int], seed: int, share: float) -> None:
    change = np.random.default_rng(seed).random(size) < share
    times = np.zeros(size, int)
    for window, own in windows(change):
        times[window.judged] += own
        for judged, seen, length in zip(window.judged, window.seen, size, strict=True):
            assert max(0, judged.start - CONTEXT) >= seen.start >= 0
            assert min(length, judged.stop + CONTEXT) <= seen.stop <= length
    assert np.array_equal(times, change.astype(int))


def test_changed_cells_are_those_with_a_pixel_that_differs() -> None:
    before = np.zeros((32, 48, 3), np.uint8)
    after = before.copy()
    after[17, 47, 2] = 1
    assert changed_cells(before, after).tolist() == [[False] * 3, [False, False, True]]


def test_pairs_of_two_sizes_are_refused(comparator: EmbeddedComparator) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        comparator([photo(size=32)], [photo(size=48)])


def test_the_threshold_is_that_of_the_greatest_calibrated_risk_that_is_allowed(
    comparator: EmbeddedComparator, tmp_path: Path
) -> None:
    assert comparator.threshold(0.01) == 0.9
    assert comparator.threshold(0.05) == 0.9
    assert comparator.threshold(0.5) == 0.6
    assert comparator.threshold(0.001) > 1
    path = tmp_path / "judge.safetensors"
    save_weights(ComparatorNet(), path, ARCHITECTURE, {})
    assert EmbeddedComparator(str(path), device="cpu").threshold(0.5) > 1
    save_weights(ComparatorNet(), path, ARCHITECTURE, {"calibration": "[]"})
    with pytest.raises(ValueError, match="no curve"):
        EmbeddedComparator(str(path), device="cpu")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_weights(torch.nn.Linear(2, 2), path, "other", {})
    with pytest.raises(ValueError, match=f"expected weights of {ARCHITECTURE}"):
        EmbeddedComparator(str(path))
