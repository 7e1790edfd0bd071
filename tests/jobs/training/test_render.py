"""Banks that are filled in the background."""

from __future__ import annotations

import numpy as np
import pytest
from training import looks, render
from training.looks.base import LOOKS, Look
from training.render import LookBank

PHOTO = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
NAMES = ("stars", "sprites", "halftone_dots")


def test_processes_fill_the_bank_and_end() -> None:
    with LookBank([PHOTO], NAMES, 48, 24, 2, seed=1) as bank:
        first = bank.take(wait=60)
        assert first.shape[1:] == (3, 48, 48)
        assert len(first) == len(bank.families) > 0
        assert set(bank.families) <= set(NAMES)
        assert str(first.dtype) == "torch.uint8"
        more = bank.take(wait=60)
        assert bank.made == len(first) + len(more)
        assert bank.failed == 0
        workers = list(bank._workers)
    assert not any(worker.is_alive() for worker in workers)


def test_workers_do_without_torch() -> None:
    """Sixteen copies of torch would take the memory and the seconds that the training needs."""
    import subprocess
    import sys

    code = "import sys, training.render, training.looks; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False
        ).returncode
        == 0
    )


def test_the_same_without_processes() -> None:
    one, two, other = (LookBank([PHOTO], NAMES, 32, 6, 0, seed).arrays() for seed in (1, 1, 2))
    assert one.shape == (6, 32, 32, 3)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_bank_goes_on_with_others() -> None:
    bank = LookBank([PHOTO], NAMES, 32, 6, 0, 1)
    assert not np.array_equal(bank.arrays(), bank.arrays())


def test_a_look_that_raises_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(photo: object, size: int, rng: np.random.Generator) -> np.ndarray:
        raise ZeroDivisionError

    monkeypatch.setitem(LOOKS, "broken", Look("broken", broken, False, False, False))
    bank = LookBank([PHOTO], ("stars", "broken"), 32, 12, 0, 1)
    assert len(bank.take()) == 12
    assert bank.failed > 0
    assert set(bank.families) == {"stars"}


def test_a_dead_process_is_started_again() -> None:
    with LookBank([], ("stars",), 32, 8, 1, 1) as bank:
        assert len(bank.arrays(wait=60))
        dead = bank._workers[0]
        dead.kill()
        dead.join(10)
        for _ in range(20):
            bank.arrays(wait=0.2)
        assert bank._workers[0] is not dead
        assert len(bank.arrays(wait=60))


@pytest.mark.parametrize(
    ("names", "size", "count", "told"),
    [
        (("no_such",), 32, 4, "no_such"),
        ((), 32, 4, "names"),
        (("stars",), 2, 4, "size"),
        (("stars",), 32, 0, "count"),
    ],
)
def test_what_cannot_be(names: tuple[str, ...], size: int, count: int, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LookBank([], names, size, count, 0, 1)


def test_a_look_is_a_function_of_its_seed() -> None:
    one, two = (render.picture([PHOTO], looks.training_names(), 40, (3, 1, 4)) for _ in range(2))
    assert one[1] == two[1]
    assert np.array_equal(one[0], two[0])
