from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from qrefine.models.judges.comparator_net import CELL, ComparatorNet, changed, folded, statistics
from qrefine.models.weights import EMBEDDED
from training import lies
from training.candidates import Mix, Triples, triples
from training.judge import OWN, JudgeSettings, JudgeTask, operating_point
from training.labels import Labels
from training.loop import Samples
from training.perceptual import load
from training.sources import Supply


def _task(pack: Path, batch_size: int = 6) -> JudgeTask:
    supply = Supply(pack, "cpu", looks=0, processes=0, scenes=4)
    return JudgeTask(supply, JudgeSettings(batch_size, batches=2), features=load(None))


def _samples(task: JudgeTask, step: int) -> Samples:
    return task.samples(step, np.random.default_rng((0, step)), torch.Generator())


def _batch(task: JudgeTask, step: int) -> tuple[Triples, Labels]:
    return task.batch(task.sources.bank, np.random.default_rng(step), task.settings.mix)


def test_a_batch_is_a_function_of_the_step(pack: Path) -> None:
    one, same, other = (_samples(_task(pack), step) for step in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["after"], other["after"])


def test_validation_tells_what_is_kept_and_holds_lies_that_training_never_tells(pack: Path) -> None:
    task = _task(pack, 16)
    validation = task.validation()
    told = {kind for sample, _ in validation.samples for kind in sample.kinds}
    assert not told & set(lies.training_names())
    assert "kept" in validation.line(task.network())
    assert task.validation() is validation


def test_undamaged_images_are_never_better_and_the_truth_always_is(pack: Path) -> None:
    task = _task(pack, 24)
    seen = set()
    for step in range(3):
        sample, labels = _batch(task, step)
        for i, (damage, kind) in enumerate(zip(sample.damages, sample.kinds, strict=True)):
            counts = labels.weight[i] > 0
            if not damage:
                assert torch.equal(sample.truth[i], sample.before[i])
                assert (labels.better[i][counts] == 0).all()
                seen.add("undamaged")
            elif kind == "truth" and torch.equal(sample.after[i], sample.truth[i]):
                assert (labels.better[i][counts] == 1).all()
                seen.add("truth")
    assert seen == {"undamaged", "truth"}


def test_most_triples_are_of_restorers_where_one_is_known(pack: Path) -> None:
    supply, rng = Supply(pack, "cpu", looks=0, processes=0, scenes=4), np.random.default_rng(0)
    task = JudgeTask(supply, JudgeSettings(6), (EMBEDDED / "restorer.safetensors",), load(None))
    assert task.mix(rng) == task.settings.mix  # none is read yet
    task.snapshots.refresh()
    mixes = [task.mix(rng) for _ in range(100)]
    assert 20 < mixes.count(OWN) < 60
    sample, _ = task.batch(task.sources.bank, rng, OWN)
    assert sample.kinds.count("net") >= 2


def test_held_out_lies_are_never_told_in_training() -> None:
    clean = torch.rand((64, 3, 32, 32))
    mix = Mix(truth=0, filter=0, net=0, damage=0)
    kinds = {kind for seed in range(4) for kind in triples(clean, mix, [], seed, 2).kinds}
    assert len(kinds) > 20
    assert not kinds & set(lies.held_out_names())


def test_a_few_steps_lower_the_loss(pack: Path) -> None:
    torch.manual_seed(0)
    task, net = _task(pack, 4), ComparatorNet()
    samples = _samples(task, 0)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(6):
        value = task.loss(net, samples, 0)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_network_answers_by_cell_and_no_answer_depends_on_the_batch() -> None:
    torch.manual_seed(0)
    net = folded(ComparatorNet())
    before, after = torch.rand(2, 2, 3, 64, 96).unbind(0)
    with torch.no_grad():
        both, one = net(before, after), net(before[1:], after[1:])
    assert both.shape == (2, 3, 64 // CELL, 96 // CELL)
    assert torch.allclose(both[1:], one, atol=1e-4)


def test_folding_changes_nothing_and_the_network_is_small() -> None:
    torch.manual_seed(0)
    net = ComparatorNet()
    with torch.no_grad():
        net(*torch.rand(2, 4, 3, 64, 64))  # statistics of the batch normalisations
        net.eval()
        pair = torch.rand(2, 1, 3, 64, 64)
        assert torch.allclose(net(*pair), folded(net)(*pair), atol=1e-4)
    assert 2 * sum(p.numel() for p in folded(net).parameters()) < 3e6


def test_statistics_tell_stars_from_noise_of_the_same_energy() -> None:
    stars = torch.full((1, 3, 64, 64), 0.1)
    stars[..., 4::16, 4::16] = 1
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 + torch.randn((1, 1, 64, 64), generator=generator).expand(1, 3, 64, 64) * stars.std()
    apart = (statistics(stars) - statistics(noise))[:, 11:14].mean((0, 2, 3))
    assert (apart > 0.3).any()


def test_changed_cells_are_those_with_a_change() -> None:
    before = torch.rand(1, 3, 64, 64)
    after = before.clone()
    after[..., 20, 40] += 0.1
    cells = changed(before, after)[0, 0]
    assert cells[1, 2] == 1
    assert cells.sum() == 1


def test_the_operating_point_holds_the_risk() -> None:
    generator = torch.Generator().manual_seed(0)
    worse, good = torch.randn(5000, generator=generator), torch.randn(5000, generator=generator) + 3
    point = operating_point(torch.cat([worse, good]), torch.cat([torch.zeros(5000), torch.ones(5000)]), 0.01)
    assert (worse > point.threshold).float().mean().item() == pytest.approx(0.01, abs=0.002)
    assert 0.6 < point.kept < 0.9
