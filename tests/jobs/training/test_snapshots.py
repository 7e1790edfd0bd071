from __future__ import annotations

import os
import shutil

import numpy as np
import torch

from qrefine.models.restorers.embedded import EmbeddedRestorer
from qrefine.models.weights import EMBEDDED
from tests.support import photo
from training import tensors
from training.restorer_net import ARCHITECTURE, RestorerNet
from training.snapshots import Snapshots
from training.structures import STRUCTURES

SHIPPED = EMBEDDED / "restorer.safetensors"
RNG = np.random.default_rng(0)


def saved(path, seed):
    torch.manual_seed(seed)
    net = RestorerNet()
    torch.nn.init.normal_(net.last.weight, std=0.1)
    tensors.save(path, net.state_dict(), {"architecture": ARCHITECTURE})


def test_the_shipped_restorer_answers_a_batch_as_it_does_in_a_run():
    clean = np.stack([photo(size=96), photo("coffee", 96)]).astype(np.float32)
    noisy = clean + RNG.normal(0, 25, clean.shape) * np.array([1, 0])[:, None, None, None]
    images = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    images[1, ::2] = images[1, 1::2]  # another kind of damage: weights follow from each image alone
    planes = np.zeros((2, 96, 96), np.float32)
    planes[:, 20:80, 30:90] = 0.8
    snapshots = Snapshots((SHIPPED,), "cpu")
    snapshots.refresh()
    restore = snapshots.pick(RNG)
    after = restore(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(planes)[:, None])
    after = (after * 255).round().byte().permute(0, 2, 3, 1).numpy()
    expected = np.stack(EmbeddedRestorer()(list(images), list(planes), ["", ""], [0, 0]))
    assert (after != images).any()
    assert np.abs(after.astype(int) - expected).max() <= 1  # other sums of the same numbers


def test_files_are_read_as_they_come_and_the_last_states_stay(tmp_path, capsys):
    path = tmp_path / "restorer.safetensors"
    snapshots = Snapshots((path, tmp_path / "broken"), "cpu", every=0, keep=2)
    (tmp_path / "broken").write_bytes(b"no weights")
    snapshots.refresh()
    assert (len(snapshots), snapshots.pick(RNG)) == (0, None)
    assert "no restorer yet" in capsys.readouterr().err
    for turn in range(3):
        saved(path, turn)
        os.utime(path, (turn, turn))
        snapshots.refresh()
        snapshots.refresh()  # what did not change is not read again
        assert len(snapshots) == min(turn + 1, 2)
    shutil.copy(EMBEDDED / "mapper.safetensors", tmp_path / "broken")
    snapshots.refresh()
    assert len(snapshots) == 2
    assert "expected weights of" in capsys.readouterr().err


def test_a_restorer_that_must_be_told_the_family_is_refused(tmp_path, capsys):
    structure = STRUCTURES["told"]
    path = tmp_path / "told.safetensors"
    tensors.save(path, structure.build().state_dict(), {"architecture": structure.architecture})
    snapshots = Snapshots((path,), "cpu")
    snapshots.refresh()
    assert len(snapshots) == 0
    assert "expected weights of a restorer" in capsys.readouterr().err
