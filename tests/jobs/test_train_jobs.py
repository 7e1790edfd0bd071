"""Short runs of the training jobs, as a user starts them: the loss falls, and bad input is one line."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from qrefine.models.mappers import embedded_net as mapper_net
from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.restorers import embedded_net as restorer_net
from qrefine.models.restorers.embedded import EmbeddedRestorer
from qrefine.models.weights import load_weights, save_weights, sha256
from qrefine.training.card import stated_digest
from qrefine.training.degradations import degrade
from qrefine.training.mapping import mapper_task
from qrefine.training.restoring import restorer_task
from qrefine.training.scenes import dead_leaves

ROOT = Path(__file__).parents[2]
TASKS = {"train_mapper": mapper_task, "train_restorer": restorer_task}
JOBS = {
    "train_mapper": (mapper_net.ARCHITECTURE, mapper_net.MapperNet, EmbeddedMapper),
    "train_restorer": (restorer_net.ARCHITECTURE, restorer_net.RestorerNet, EmbeddedRestorer),
}


def run(job, *arguments):
    command = [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, check=False)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        image = dead_leaves(240, np.random.default_rng(seed)).clip(0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{seed}.png")
    return folder


def test_a_short_run_of_the_mapper_learns_and_resumes(tmp_path, photos):
    short(tmp_path, photos, "train_mapper", 40, 44, "checkpoint")


def test_a_short_run_of_the_restorer_learns_and_resumes(tmp_path, photos):
    short(tmp_path, photos, "train_restorer", 140, 160, "trunk.checkpoint")


def short(tmp_path, photos, job, steps, later, first_phase):
    architecture, network, backend = JOBS[job]
    out = tmp_path / "net.safetensors"
    given = ("--photos", photos, "--batch", 3, "--processes", 0, "--out", out)
    first = run(job, *given, "--steps", steps)
    assert first.returncode == 0, first.stderr
    assert f"{steps} steps" in first.stdout
    notes = load_weights(network(), out, architecture)
    assert notes["steps"] == str(steps)
    assert stated_digest(out.with_suffix(".md")) == sha256(out)
    card = out.with_suffix(".md").read_text()
    for title in ("Data", "Recipe", "Figures", "Limits"):
        assert f"## {title}" in card
    assert "3 clean photographs" in card
    backend(weights=str(out))
    checkpoint = out.with_suffix(f".{first_phase}")
    done = torch.load(checkpoint, weights_only=True)["state"]["step"]
    assert later_loss(TASKS[job](), checkpoint) < later_loss(TASKS[job]())
    resumed = run(job, *given, "--steps", later, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{later} steps" in resumed.stdout
    assert torch.load(checkpoint, weights_only=True)["state"]["step"] > done
    assert re.search(rf"resumed at step {done}\b", out.with_suffix(".md").read_text())


@torch.no_grad()
def later_loss(task, checkpoint=None):
    """The first phase's loss on samples that the run did not see, before the training or after it."""
    phase = task.phases[0]
    torch.manual_seed(0)
    net = phase.network({})
    if checkpoint:
        net.load_state_dict(torch.load(checkpoint, weights_only=True)["net"])
    batch = default_collate([phase.samples((), 7)[i] for i in range(24)])
    return float(phase.loss(net, batch, 0))


@pytest.mark.parametrize("job", JOBS)
def test_training_starts_from_given_weights(tmp_path, job):
    architecture, network, _ = JOBS[job]
    given, out = tmp_path / "given.safetensors", tmp_path / "net.safetensors"
    torch.manual_seed(5)
    save_weights(network(), given, architecture, {})
    done = run(job, "--steps", 1, "--batch", 2, "--processes", 0, "--init", given, "--out", out)
    assert done.returncode == 0, done.stderr
    before, after = network(), network()
    load_weights(before, given, architecture)
    load_weights(after, out, architecture)
    values = {name: value for name, value in before.named_parameters() if value.dim() == 4}
    of_first_phase = [name for name in values if job == "train_mapper" or name.startswith("trunk.")]
    assert all(torch.allclose(after.get_parameter(name), values[name], atol=1e-3) for name in of_first_phase)
    assert f"from `given.safetensors` (sha256 `{sha256(given)}`)" in out.with_suffix(".md").read_text()


def test_training_from_a_later_phase_takes_the_earlier_ones_as_given(tmp_path):
    given, out = tmp_path / "given.safetensors", tmp_path / "net.safetensors"
    torch.manual_seed(5)
    save_weights(restorer_net.RestorerNet(), given, restorer_net.ARCHITECTURE, {})
    options = ("--batch", 2, "--processes", 0, "--rate", 0.2, "--out", out, "--from", "together")
    done = run("train_restorer", *options, "--steps", 2, "--init", given)
    assert done.returncode == 0, done.stderr
    assert "2 steps, together: 2 steps" in done.stdout
    assert "--from together" in out.with_suffix(".md").read_text()
    before, after = restorer_net.RestorerNet(), restorer_net.RestorerNet()
    load_weights(before, given, restorer_net.ARCHITECTURE)
    load_weights(after, out, restorer_net.ARCHITECTURE)
    assert not torch.equal(before.trunk.last.bias, after.trunk.last.bias)
    torch.testing.assert_close(before.trunk.stem.weight, after.trunk.stem.weight, rtol=0, atol=0.1)
    refused(run("train_restorer", *options, "--steps", 2), "--from needs --init")
    save_weights(restorer_net.UNet(), given, restorer_net.TRUNK_ALONE, {})
    refused(run("train_restorer", *options, "--steps", 2, "--init", given), "holds nothing of the phase 'noise'")


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "2", "--photos", "nowhere/*.tar"), "no file matches --photos 'nowhere/*.tar'"),
        ((), "--steps or --minutes"),
        (("--steps", "2", "--batch", "0"), "--batch is at least 1"),
        (("--steps", "2", "--resume"), "no checkpoint to resume from"),
        (("--steps", "2", "--init", "none.safetensors"), "none.safetensors: no such weights file"),
        (("--steps", "2", "--init", str(ROOT / "README.md")), "not a sound safetensors file"),
    ],
)
def test_bad_input_is_one_line(tmp_path, job, arguments, message):
    refused(run(job, *arguments, "--out", tmp_path / "net.safetensors"), message)


def refused(done, message):
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize("job", JOBS)
def test_photos_below_the_crop_are_counted(tmp_path, job):
    Image.new("RGB", (100, 300)).save(tmp_path / "a.png")
    done = run(job, "--steps", 2, "--photos", tmp_path, "--out", tmp_path / "net.safetensors")
    refused(done, "no photo is left")
    assert "1 smaller than" in done.stderr


@pytest.fixture
def scores(tmp_path):
    """Images that get worse, with scores that say so, on a scale of 1 to 5."""
    rng = np.random.default_rng(0)
    lines = ["file,score"]
    for number, severity in enumerate(np.linspace(0, 1, 40)):
        image = dead_leaves(128, rng).clip(0, 255).astype(np.uint8)
        Image.fromarray(degrade(image, "gaussian_noise", float(severity), rng)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{5 - 4 * severity:.2f}")
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_human_scores_bend_the_head(tmp_path, scores):
    out = tmp_path / "mine.safetensors"
    done = run("train_mapper", "--scores", scores, "--steps", 60, "--out", out)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"(\S+) after", done.stdout).group(1)) > 0.8
    assert stated_digest(out.with_suffix(".md")) == sha256(out)
    noisy = np.asarray(Image.open(tmp_path / "39.png"))
    clean = np.asarray(Image.open(tmp_path / "0.png"))
    bad, good = (quality.score for quality in EmbeddedMapper(str(out))([noisy, clean]))
    assert bad < 0.35 < 0.65 < good


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("none.png,3", "there is no file"),
        ("0.png,good", "the score 'good' is no number"),
        ("0.png,nan", "is not finite"),
        ("0.png", "the score None is no number"),
    ],
)
def test_bad_scores_are_one_line(tmp_path, scores, row, message):
    scores.write_text(scores.read_text() + row + "\n")
    done = run("train_mapper", "--scores", scores, "--out", tmp_path / "mine.safetensors")
    refused(done, message)
    assert "line 42" in done.stderr


def test_scores_without_columns_or_rows(tmp_path, scores):
    few = "\n".join(scores.read_text().splitlines()[:4])
    scores.write_text(few)
    refused(run("train_mapper", "--scores", scores, "--out", tmp_path / "mine.safetensors"), "ten or more")
    scores.write_text(few.replace("score", "mark"))
    refused(run("train_mapper", "--scores", scores, "--out", tmp_path / "mine.safetensors"), "file and score")


def test_scores_with_foreign_weights(tmp_path, scores):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"damaged")
    done = run("train_mapper", "--scores", scores, "--init", foreign, "--out", tmp_path / "mine.safetensors")
    refused(done, "not a sound safetensors file")
